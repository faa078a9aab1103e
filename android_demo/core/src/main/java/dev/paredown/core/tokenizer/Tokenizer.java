package dev.paredown.core.tokenizer;

import dev.paredown.core.Fields;
import dev.paredown.core.Json;
import dev.paredown.core.ParedownException;
import dev.paredown.core.TextFiles;
import java.io.File;
import java.util.ArrayList;
import java.util.List;

/**
 * Text to token ids and back, as Hugging Face's tokenizers does it with the same tokenizer.json.
 *
 * <p>May be used from several threads; they wait for each other.
 */
public final class Tokenizer {
    private final Normalizer normalizer;
    private final PreTokenizer preTokenizer;
    private final Bpe model;
    private final AddedTokens added;
    private final Surroundings surroundings;
    private final Decoder decoder;

    private Tokenizer(Fields json, String where) {
        if (!"1.0".equals(json.string("version"))) {
            throw Unsupported.because(where, "the version " + json.string("version"));
        }
        refuseUnlessNull(json, "truncation", where);
        refuseUnlessNull(json, "padding", where);
        Normalizers normalizers = new Normalizers(where);
        Object part = json.any("normalizer");
        normalizer = part == null ? null : normalizers.read(new Fields(part, where + ".normalizer"));
        PreTokenizers preTokenizers = new PreTokenizers(where, normalizers.shortens());
        part = json.any("pre_tokenizer");
        preTokenizer =
                part == null ? null : preTokenizers.read(new Fields(part, where + ".pre_tokenizer"));
        model = new Bpe(new BpeReader(json.object("model"), where));
        added = new AddedTokens(json.objects("added_tokens"), model.vocabulary(), normalizer, where);
        surroundings = new Surroundings(json.any("post_processor"), where);
        decoder = new Decoder(json.any("decoder"), where);
        json.end();
    }

    private static void refuseUnlessNull(Fields json, String key, String where) {
        if (json.has(key) && json.any(key) != null) {
            throw Unsupported.because(where, key);
        }
    }

    /**
     * Read a tokenizer.json.
     *
     * @throws ParedownException it is not one, or asks for something that is not supported; the
     *     message names it
     */
    public static Tokenizer open(File file) {
        return parse(TextFiles.read(file), file.getName());
    }

    /**
     * As {@link #open}.
     *
     * @param json text of the file
     * @param where its name, for errors
     */
    public static Tokenizer parse(String json, String where) {
        return new Tokenizer(new Fields(Json.parse(json, where), where), where);
    }

    /**
     * Token ids of a text.
     *
     * @param addSpecialTokens whether the post-processor's BOS, EOS and the like go around it
     */
    public synchronized int[] encode(String text, boolean addSpecialTokens) {
        Ids ids = new Ids();
        String whole = Utf8.wellFormed(text);
        added.asWritten().find(whole, new TokenFinder.Sink() {
            @Override
            public void text(int start, int end) {
                normalized(whole.substring(start, end), start == 0, ids);
            }

            @Override
            public void token(AddedToken token) {
                ids.add(token.id);
            }
        });
        return addSpecialTokens ? surroundings.around(ids.toArray()) : ids.toArray();
    }

    private void normalized(String raw, boolean isFirst, Ids ids) {
        String text = normalizer == null ? raw : normalizer.normalize(raw);
        added.normalized().find(text, new TokenFinder.Sink() {
            @Override
            public void text(int start, int end) {
                words(new Piece(text.substring(start, end), isFirst && start == 0), ids);
            }

            @Override
            public void token(AddedToken token) {
                ids.add(token.id);
            }
        });
    }

    private void words(Piece piece, Ids ids) {
        List<Piece> words = new ArrayList<>();
        if (preTokenizer == null) {
            words.add(piece);
        } else {
            preTokenizer.split(piece, words);
        }
        for (Piece word : words) {
            if (!word.text.isEmpty()) {
                model.encode(word.text, ids);
            }
        }
    }

    /**
     * Text of token ids; ids that no token has are left out.
     *
     * @param skipSpecialTokens whether special tokens are left out too
     */
    public String decode(int[] ids, boolean skipSpecialTokens) {
        Stage.Collector collector = new Stage.Collector();
        Stage stage = decoder.open(collector, false);
        for (int id : ids) {
            take(id, skipSpecialTokens, stage);
        }
        stage.finish();
        return collector.drain();
    }

    /**
     * Text of tokens that come one by one, special ones left out.
     *
     * @param promptIds what precedes them
     */
    public TokenStream stream(int[] promptIds) {
        return new TokenStream(this, promptIds);
    }

    /** A chain from tokens to text that is taken out before the end. */
    Stage openStream(Stage.Collector collector) {
        return decoder.open(collector, true);
    }

    /** Hand a token to a chain. */
    void take(int id, boolean skipSpecialTokens, Stage stage) {
        String form = token(id);
        if (form != null && !(skipSpecialTokens && added.isSpecial(form))) {
            stage.take(form);
        }
    }

    /** Id of a token, or -1. */
    public int id(String token) {
        int id = added.id(token);
        return id >= 0 ? id : model.vocabulary().id(token);
    }

    /** A token as it is written in the file, or null. */
    public String token(int id) {
        String form = added.form(id);
        return form != null ? form : model.vocabulary().token(id);
    }
}
