package dev.paredown.core;

import java.io.File;
import java.util.Arrays;
import java.util.List;

/** What a headless run is to do: the file that the host pushes. */
public final class Spec {
    /** The version of the format that this program reads. */
    public static final String SCHEMA = "paredown.android-spec/1";
    /** What can be asked for. */
    static final List<String> VERBS = Arrays.asList("measure", "check", "chat");

    private static final String ID_PATTERN = "[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}";

    /** Names the answer's file. */
    public final String id;
    /** {@code measure}, {@code check} or {@code chat}. */
    public final String verb;
    /** The bundle's folder. */
    public final File bundle;
    /** Of {@code measure}, else null. */
    public final Protocol protocol;
    /** Of {@code measure}: the measured prompt; null: the bundle's own workload. */
    public final int[] promptIds;
    /** Of {@code chat}: the question, else null. */
    public final String prompt;
    /** Of {@code chat}: most tokens of the answer, else null. */
    public final Integer maxNewTokens;
    /** Compute threads of the engine. */
    public final int threads;
    /** Whether times and sizes of this machine mean nothing. */
    public final boolean emulated;

    private Spec(Fields f) {
        f.schema(SCHEMA);
        id = f.string("id");
        verb = f.string("verb");
        bundle = new File(f.string("bundle"));
        protocol = f.any("protocol") == null ? null : new Protocol(f.object("protocol"));
        promptIds = f.any("prompt_ids") == null ? null : f.ints("prompt_ids");
        prompt = f.any("prompt") == null ? null : f.string("prompt");
        maxNewTokens = f.any("max_new_tokens") == null ? null : f.nullableInt32("max_new_tokens");
        threads = f.int32("threads");
        emulated = f.bool("emulated");
        f.end();
        check();
    }

    /**
     * Read a spec.
     *
     * @throws ParedownException it cannot be read, or asks for what makes no sense
     */
    public static Spec read(File file) {
        return new Spec(new Fields(Json.parse(TextFiles.read(file), "" + file), "" + file));
    }

    /** Whether a text may name an answer's file. */
    static boolean isId(String text) {
        return text.matches(ID_PATTERN);
    }

    private void check() {
        require(isId(id), "id is " + Json.describe(id), "use letters, digits, '.', '_' and '-'");
        require(VERBS.contains(verb), "verb is " + Json.describe(verb), "known: " + VERBS);
        require(bundle.isAbsolute(), "bundle is " + bundle, "give an absolute path");
        require(threads >= 1, "threads is " + threads, "use 1 or more");
        boolean measures = verb.equals("measure");
        require(measures == (protocol != null), verb + " and the protocol do not fit", "");
        require(measures || promptIds == null, verb + " takes no prompt_ids", "");
        require(!measures || protocol.threads == threads, "threads is not the protocol's", "");
        boolean chats = verb.equals("chat");
        require(chats == (prompt != null), verb + " and the prompt do not fit", "");
        require(chats == (maxNewTokens != null), verb + " and max_new_tokens do not fit", "");
        require(!chats || maxNewTokens >= 1, "max_new_tokens is " + maxNewTokens, "use 1 or more");
    }

    private static void require(boolean condition, String what, String hint) {
        if (!condition) {
            throw ParedownException.badRequest("spec: " + what, hint);
        }
    }
}
