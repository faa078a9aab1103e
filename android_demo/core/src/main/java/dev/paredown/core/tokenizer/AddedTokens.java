package dev.paredown.core.tokenizer;

import dev.paredown.core.Fields;
import dev.paredown.core.ParedownException;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** The added tokens of a tokenizer.json. */
final class AddedTokens {
    private final TokenFinder asWritten = new TokenFinder();
    private final TokenFinder normalized = new TokenFinder();
    private final Map<Integer, String> forms = new HashMap<>();
    private final Map<String, Integer> ids = new HashMap<>();
    private final Set<String> special = new HashSet<>();

    /**
     * @param normalizer changes tokens that are looked for in normalized text, or null
     * @throws ParedownException a token is there twice, or has another id than it would get
     */
    AddedTokens(List<Fields> json, Vocabulary vocabulary, Normalizer normalizer, String where) {
        int next = vocabulary.size();
        for (Fields each : json) {
            AddedToken token = new AddedToken(each);
            int known = vocabulary.id(token.content);
            int id = known >= 0 ? known : next++;
            if (ids.put(token.content, id) != null || id != token.id) {
                throw ParedownException.badRequest(
                        where + " gives the added token \"" + token.content + "\" the id " + token.id
                                + ", it would be " + id, "");
            }
            add(token, normalizer, where);
        }
    }

    private void add(AddedToken token, Normalizer normalizer, String where) {
        boolean changes = token.normalized && normalizer != null;
        String form = changes ? normalizer.normalize(token.content) : token.content;
        (token.normalized ? normalized : asWritten).add(form, token, where);
        forms.put(token.id, form);
        if (token.special) {
            special.add(token.content);
        }
    }

    /** Finds those that are looked for in the text as it is. */
    TokenFinder asWritten() {
        return asWritten;
    }

    /** Finds those that are looked for after normalizing. */
    TokenFinder normalized() {
        return normalized;
    }

    /** What stands for a token when it is decoded, or null. */
    String form(int id) {
        return forms.get(id);
    }

    /** Id by content, or -1. */
    int id(String content) {
        Integer id = ids.get(content);
        return id == null ? -1 : id;
    }

    /** Whether a form is that of a special token. */
    boolean isSpecial(String form) {
        return special.contains(form);
    }
}
