package dev.paredown.core.chat;

import java.util.ArrayList;
import java.util.Date;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** The functions that every template has. */
final class Globals {
    private Globals() {}

    /** @param now what strftime_now says, null for none */
    static Scope scope(Date now) {
        Scope scope = new Scope(null);
        scope.set("raise_exception", (Function) (given, renderer) -> {
            Object message = given.check(1, "message").get(0, "message", "");
            throw new TemplateError("refuses this: " + PyText.str(message, renderer.budget));
        });
        scope.set("namespace", (Function) (given, renderer) -> namespace(given));
        scope.set("dict", (Function) (given, renderer) -> dict(given));
        scope.set("range", (Function) (given, renderer) -> range(given, renderer.budget));
        if (now != null) {
            scope.set("strftime_now", (Function) (given, renderer) ->
                    Strftime.format(given.check(1, "format").text(0, "format"), now));
        }
        return scope;
    }

    private static Object namespace(Arguments given) {
        if (given.count() > 0) {
            throw TemplateError.unsupported("a namespace of a dict");
        }
        Namespace namespace = new Namespace();
        for (Map.Entry<String, Object> entry : given.named().entrySet()) {
            if (entry.getKey().startsWith("_")) {
                throw TemplateError.unsupported("the attribute " + entry.getKey());
            }
            namespace.attributes.put(entry.getKey(), entry.getValue());
        }
        return namespace;
    }

    private static Object dict(Arguments given) {
        Map<Object, Object> dict = new LinkedHashMap<>();
        if (given.count() == 1 && given.get(0) instanceof Map) {
            dict.putAll((Map<?, ?>) given.get(0));
        } else if (given.count() > 0) {
            throw TemplateError.unsupported("a dict of pairs");
        }
        dict.putAll(given.named());
        return dict;
    }

    private static Object range(Arguments given, Budget budget) {
        given.check(1, "start", "stop", "step");
        boolean one = given.count() == 1;
        int start = one ? 0 : given.number(0, "start", 0);
        int stop = given.number(one ? 0 : 1, "stop", 0);
        int step = given.number(2, "step", 1);
        if (step == 0 || given.count() == 0) {
            throw new TemplateError("gives range a step of 0 or nothing");
        }
        List<Object> numbers = new ArrayList<>();
        for (long i = start; step > 0 ? i < stop : i > stop; i += step) {
            budget.charge(1);
            numbers.add(i);
        }
        return numbers;
    }
}
