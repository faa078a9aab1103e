package dev.paredown.core.chat;

import java.util.HashMap;
import java.util.Map;

/** Names and their values, over those of an outer scope. */
final class Scope {
    private final Map<String, Object> values = new HashMap<>();
    private final Scope outer;

    Scope(Scope outer) {
        this.outer = outer;
    }

    void set(String name, Object value) {
        values.put(name, value);
    }

    /** The innermost value of a name; {@link Undefined} where it has none. */
    Object get(String name) {
        for (Scope scope = this; scope != null; scope = scope.outer) {
            if (scope.values.containsKey(name)) {
                return scope.values.get(name);
            }
        }
        return new Undefined("'" + name + "' is undefined");
    }
}
