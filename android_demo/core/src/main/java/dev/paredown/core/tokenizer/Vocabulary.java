package dev.paredown.core.tokenizer;

import dev.paredown.core.ParedownException;
import java.util.HashMap;
import java.util.Map;

/** Tokens by id and ids by token. */
final class Vocabulary {
    /** Ids are places in an array; more than any model has. */
    private static final int MAX_ID = 4_000_000;

    private final Map<String, Integer> ids;
    private final String[] tokens;

    /**
     * @param json token to id
     * @throws ParedownException an id that is none, or one of two tokens
     */
    Vocabulary(Map<String, Object> json, String where) {
        ids = new HashMap<>(json.size() * 4 / 3 + 1);
        int last = -1;
        for (Map.Entry<String, Object> entry : json.entrySet()) {
            int id = id(entry.getKey(), entry.getValue(), where);
            ids.put(entry.getKey(), id);
            last = Math.max(last, id);
        }
        tokens = new String[last + 1];
        for (Map.Entry<String, Integer> entry : ids.entrySet()) {
            int id = entry.getValue();
            if (tokens[id] != null) {
                throw ParedownException.badRequest(
                        where + " gives the id " + id + " to two tokens", "");
            }
            tokens[id] = entry.getKey();
        }
    }

    private static int id(String token, Object value, String where) {
        if (value instanceof Long && (Long) value >= 0 && (Long) value <= MAX_ID) {
            return ((Long) value).intValue();
        }
        throw ParedownException.badRequest(
                where + " gives the token \"" + token + "\" an id that is none", "");
    }

    /** Id of a token, or -1. */
    int id(String token) {
        Integer id = ids.get(token);
        return id == null ? -1 : id;
    }

    /** Token of an id, or null. */
    String token(int id) {
        return id >= 0 && id < tokens.length ? tokens[id] : null;
    }

    /** How many tokens there are. */
    int size() {
        return ids.size();
    }
}
