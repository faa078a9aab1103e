package dev.paredown.core.chat;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;

/** Methods of Python's types that templates call; none of them changes its object. */
final class Methods {
    private static final Set<String> OF_TEXTS = set(
            "strip lstrip rstrip split rsplit splitlines startswith endswith upper lower title "
                    + "capitalize replace join find rfind count removeprefix removesuffix");
    private static final Set<String> OF_MAPS = set("get items keys values");
    private static final Set<String> OF_LISTS = set("index count");

    /** Python's other methods of these types, so that they are refused and not undefined. */
    private static final Set<String> OTHERS = set(
            "append casefold center clear copy encode expandtabs extend format format_map fromkeys "
                    + "insert isalnum isalpha isascii isdecimal isdigit isidentifier islower "
                    + "isnumeric isprintable isspace istitle isupper ljust maketrans partition pop "
                    + "popitem remove reverse rindex rjust rpartition setdefault sort swapcase "
                    + "translate update zfill");

    private Methods() {}

    private static Set<String> set(String names) {
        return Collections.unmodifiableSet(new HashSet<>(Arrays.asList(names.split(" "))));
    }

    /** Whether some type has a method of this name; what has not cannot be called. */
    static boolean isKnown(String name) {
        return OF_TEXTS.contains(name) || OF_MAPS.contains(name) || OF_LISTS.contains(name);
    }

    /**
     * A method of a value, or null.
     *
     * @throws TemplateError Python has it, this has not
     */
    static Function of(Object object, String name) {
        if (object instanceof String && OF_TEXTS.contains(name)) {
            return (arguments, renderer) ->
                    TextMethods.call((String) object, name, arguments, renderer.budget);
        }
        if (object instanceof Map && OF_MAPS.contains(name)) {
            return (arguments, renderer) -> ofMap((Map<?, ?>) object, name, arguments);
        }
        if (object instanceof List && OF_LISTS.contains(name)) {
            return (arguments, renderer) ->
                    ofList((List<?>) object, name, arguments, renderer.budget);
        }
        boolean isMapEntry = object instanceof Map && ((Map<?, ?>) object).containsKey(name);
        boolean hasMethods = object instanceof String || object instanceof List || object instanceof Map;
        if (hasMethods && !isMapEntry && OTHERS.contains(name)) {
            throw TemplateError.unsupported("the method " + name);
        }
        return null;
    }

    private static Object ofMap(Map<?, ?> map, String name, Arguments arguments) {
        switch (name) {
            case "get":
                arguments.check(1, "key", "default");
                Object key = Values.key(arguments.get(0));
                return map.containsKey(key) ? map.get(key) : arguments.get(1, "default", null);
            case "keys":
                arguments.check(0);
                return new Lazy(new ArrayList<>(map.keySet()), true);
            case "values":
                arguments.check(0);
                return new Lazy(new ArrayList<>(map.values()), true);
            default:
                arguments.check(0);
                return items(map);
        }
    }

    /** The pairs of a map. */
    static Lazy items(Map<?, ?> map) {
        List<Object> pairs = new ArrayList<>();
        for (Map.Entry<?, ?> entry : map.entrySet()) {
            pairs.add(new Tuple(Arrays.asList(entry.getKey(), entry.getValue())));
        }
        return new Lazy(pairs, true);
    }

    private static Object ofList(List<?> list, String name, Arguments arguments, Budget budget) {
        arguments.check(1, "value");
        long count = 0;
        for (int i = 0; i < list.size(); i++) {
            if (Values.equal(list.get(i), arguments.get(0), budget)) {
                if (name.equals("index")) {
                    return (long) i;
                }
                count++;
            }
        }
        if (name.equals("index")) {
            throw new TemplateError("asks for the place of what is not in a list");
        }
        return count;
    }

    /** Methods of texts. */
    private static final class TextMethods {
        static Object call(String text, String name, Arguments given, Budget budget) {
            budget.charge(text.length());
            switch (name) {
                case "strip":
                case "lstrip":
                case "rstrip":
                    String characters = given.check(0, "chars").text(0, "chars", null);
                    return PyText.strip(
                            text, characters, !name.startsWith("r"), !name.startsWith("l"));
                case "split":
                case "rsplit":
                    given.check(0, "sep", "maxsplit");
                    return Splits.split(text, given.text(0, "sep", null),
                            given.number(1, "maxsplit", -1), name.startsWith("r"));
                case "splitlines":
                    given.check(0);
                    return Splits.lines(text);
                case "startswith":
                case "endswith":
                    return matches(text, given.check(1, "prefix").get(0), name.startsWith("s"));
                case "replace":
                    given.check(2, "old", "new", "count");
                    return Splits.replace(text, given.text(0, "old"), given.text(1, "new"),
                            given.number(2, "count", -1), budget);
                case "join":
                    return join(text, given.check(1, "iterable").get(0), budget);
                default:
                    return simple(text, name, given);
            }
        }

        private static Object simple(String text, String name, Arguments given) {
            switch (name) {
                case "upper":
                    given.check(0);
                    return text.toUpperCase(Locale.ROOT);
                case "lower":
                    given.check(0);
                    return text.toLowerCase(Locale.ROOT);
                case "title":
                    given.check(0);
                    return PyText.titleWords(text);
                case "capitalize":
                    given.check(0);
                    return PyText.capitalize(text);
                default:
                    return search(text, name, given.check(1, "part").text(0, "part"));
            }
        }

        private static Object search(String text, String name, String part) {
            switch (name) {
                case "find":
                    return place(text, text.indexOf(part));
                case "rfind":
                    return place(text, text.lastIndexOf(part));
                case "removeprefix":
                    return text.startsWith(part) ? text.substring(part.length()) : text;
                case "removesuffix":
                    return text.endsWith(part)
                            ? text.substring(0, text.length() - part.length()) : text;
                default:
                    return count(text, part);
            }
        }

        private static Object place(String text, int index) {
            return index < 0 ? -1L : (long) text.codePointCount(0, index);
        }

        private static Object count(String text, String part) {
            if (part.isEmpty()) {
                return Values.length(text) + 1;
            }
            long count = 0;
            for (int at = text.indexOf(part); at >= 0; at = text.indexOf(part, at + part.length())) {
                count++;
            }
            return count;
        }

        private static Object matches(String text, Object parts, boolean atStart) {
            List<?> all = parts instanceof Tuple ? (Tuple) parts : Collections.singletonList(parts);
            for (Object part : all) {
                if (!(part instanceof String)) {
                    throw new TemplateError("compares the ends of a str and " + Values.typeName(part));
                }
                String end = (String) part;
                if (atStart ? text.startsWith(end) : text.endsWith(end)) {
                    return true;
                }
            }
            return false;
        }

        private static Object join(String separator, Object parts, Budget budget) {
            StringBuilder out = new StringBuilder();
            String between = "";
            for (Object part : Values.elements(parts, budget)) {
                if (!(part instanceof String)) {
                    throw new TemplateError("joins " + Values.typeName(part) + " into a str");
                }
                out.append(between).append(part);
                budget.charge(((String) part).length() + separator.length());
                between = separator;
            }
            return out.toString();
        }
    }
}
