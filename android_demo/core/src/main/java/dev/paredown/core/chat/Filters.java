package dev.paredown.core.chat;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/** Jinja's filters, and tojson as chat templates know it. */
final class Filters {
    private static final String KNOWN =
            " trim upper lower capitalize title length count join tojson default d first last list "
                    + "string int float replace safe items map select reject selectattr rejectattr "
                    + "reverse ";

    private Filters() {}

    /** Whether there is a filter of this name. */
    static boolean isKnown(String name) {
        return KNOWN.contains(" " + name + " ");
    }

    /** The value of a filter. */
    static Object apply(String name, Object value, Arguments given, Renderer renderer) {
        Budget budget = renderer.budget;
        switch (name) {
            case "default":
            case "d":
                given.check(0, "default_value", "boolean");
                boolean orFalse = Values.truth(given.get(1, "boolean", false));
                boolean absent = value instanceof Undefined || (orFalse && !Values.truth(value));
                return absent ? given.get(0, "default_value", "") : value;
            case "length":
            case "count":
                given.check(0);
                return Values.length(value);
            case "tojson":
                return json(value, given, budget);
            case "map":
            case "select":
            case "reject":
            case "selectattr":
            case "rejectattr":
                return lazy(name, value, given, renderer);
            case "int":
            case "float":
                return number(value, name.equals("int"), given);
            default:
                return isOfItems(name)
                        ? ofItems(name, value, given, budget) : ofText(name, value, given, budget);
        }
    }

    private static boolean isOfItems(String name) {
        return " join first last list items reverse ".contains(" " + name + " ");
    }

    private static Object ofText(String name, Object value, Arguments given, Budget budget) {
        String text = PyText.str(value, budget);
        budget.charge(text.length());
        if (name.equals("trim")) {
            return PyText.strip(text, given.check(0, "chars").text(0, "chars", null), true, true);
        }
        if (name.equals("replace")) {
            given.check(2, "old", "new", "count");
            String old = PyText.str(given.get(0, "old", null), budget);
            String with = PyText.str(given.get(1, "new", null), budget);
            return Splits.replace(text, old, with, given.number(2, "count", -1), budget);
        }
        given.check(0);
        switch (name) {
            case "upper":
                return text.toUpperCase(Locale.ROOT);
            case "lower":
                return text.toLowerCase(Locale.ROOT);
            case "capitalize":
                return PyText.capitalize(text);
            case "title":
                return title(text);
            case "safe":
                return new Safe(text);
            default:
                return text;
        }
    }

    /** Large letters after blanks, hyphens and opening brackets. */
    private static String title(String text) {
        StringBuilder out = new StringBuilder();
        boolean begins = true;
        for (int i = 0; i < text.length(); ) {
            int next = text.offsetByCodePoints(i, 1);
            String letter = text.substring(i, next);
            out.append(begins ? letter.toUpperCase(Locale.ROOT) : letter.toLowerCase(Locale.ROOT));
            int c = text.codePointAt(i);
            begins = PyText.isSpace(c) || "-({[<".indexOf(c) >= 0;
            i = next;
        }
        return out.toString();
    }

    private static Object ofItems(String name, Object value, Arguments given, Budget budget) {
        if (name.equals("join")) {
            return join(value, given.check(0, "d", "attribute"), budget);
        }
        given.check(0);
        if (name.equals("items")) {
            return items(value);
        }
        if (name.equals("last") && value instanceof Lazy && !((Lazy) value).sized) {
            throw new TemplateError("asks for the last of a filter's result");
        }
        List<Object> items = Values.elements(value, budget);
        budget.charge(items.size());
        switch (name) {
            case "first":
                return items.isEmpty() ? new Undefined("there is no first item") : items.get(0);
            case "last":
                return items.isEmpty()
                        ? new Undefined("there is no last item") : items.get(items.size() - 1);
            case "list":
                return new ArrayList<>(items);
            default:
                return reverse(value, items);
        }
    }

    private static Object items(Object value) {
        if (value instanceof Undefined) {
            return new Lazy(Collections.emptyList(), false);
        }
        if (value instanceof Map) {
            return new Lazy(Methods.items((Map<?, ?>) value).take(), false);
        }
        String type = Values.typeName(value);
        return Lazy.failing(new TemplateError("asks for the items of " + type));
    }

    private static Object reverse(Object value, List<Object> items) {
        List<Object> reversed = new ArrayList<>(items);
        Collections.reverse(reversed);
        if (value instanceof Lazy && !((Lazy) value).sized) {
            return reversed;
        }
        if (!(value instanceof String)) {
            return new Lazy(reversed, false);
        }
        StringBuilder text = new StringBuilder();
        for (Object item : reversed) {
            text.append(item);
        }
        return text.toString();
    }

    private static Object join(Object value, Arguments given, Budget budget) {
        String separator = PyText.str(given.get(0, "d", ""), budget);
        Object attribute = given.get(1, "attribute", null);
        StringBuilder out = new StringBuilder();
        String between = "";
        for (Object item : Values.elements(value, budget)) {
            Object part = attribute == null ? item : path(item, attribute);
            String text = PyText.str(part, budget);
            budget.charge(text.length() + separator.length());
            out.append(between).append(text);
            between = separator;
        }
        return out.toString();
    }

    /** An attribute like "a.b" of an item. */
    private static Object path(Object item, Object attribute) {
        if (!(attribute instanceof String)) {
            return Elements.element(item, attribute);
        }
        Object value = item;
        for (Object name : Splits.split((String) attribute, ".", -1, false)) {
            String part = (String) name;
            boolean isPlace = !part.isEmpty() && part.length() < 10;
            for (int i = 0; i < part.length(); i++) {
                isPlace &= part.charAt(i) >= '0' && part.charAt(i) <= '9';
            }
            value = Elements.element(value, isPlace ? (Object) Long.valueOf(part) : part);
        }
        return value;
    }

    /** A filter that does its work when somebody goes through the result; so do its failures. */
    private static Object lazy(String name, Object value, Arguments given, Renderer renderer) {
        try {
            switch (name) {
                case "map":
                    return map(value, given, renderer);
                case "select":
                case "reject":
                    return select(value, null, given, name.equals("select"), renderer);
                default:
                    Object attribute = given.get(0);
                    return select(value, attribute, given.from(1), name.equals("selectattr"), renderer);
            }
        } catch (TemplateError failure) {
            return Lazy.failing(failure);
        }
    }

    private static Object map(Object value, Arguments given, Renderer renderer) {
        boolean byAttribute = given.has("attribute");
        String filter = byAttribute ? null : given.text(0, "filter");
        if (byAttribute) {
            given.check(1, "attribute", "default");
        } else if (!isKnown(filter)) {
            throw TemplateError.unsupported("the filter " + filter);
        }
        List<Object> mapped = new ArrayList<>();
        for (Object item : elementsIfAny(value, renderer)) {
            renderer.budget.charge(1);
            mapped.add(byAttribute
                    ? attributeOr(item, given) : apply(filter, item, given.from(1), renderer));
        }
        return new Lazy(mapped, false);
    }

    /** None of what is false, even if it could not be gone through. */
    private static List<Object> elementsIfAny(Object value, Renderer renderer) {
        return Values.truth(value)
                ? Values.elements(value, renderer.budget) : Collections.emptyList();
    }

    private static Object attributeOr(Object item, Arguments given) {
        Object found = path(item, given.named().get("attribute"));
        boolean replaced = found instanceof Undefined && given.get(1, "default", null) != null;
        return replaced ? given.get(1, "default", null) : found;
    }

    /** @param attribute of each item that is tested, null for the item */
    private static Object select(
            Object value, Object attribute, Arguments given, boolean wanted, Renderer renderer) {
        List<Object> selected = new ArrayList<>();
        String test = given.count() == 0 ? null : given.text(0, "test");
        if (test != null && !Tests.isKnown(test) && !Parser.isOperatorTest(test)) {
            throw TemplateError.unsupported("the test " + test);
        }
        String name = test == null ? null : Parser.testName(test);
        for (Object item : elementsIfAny(value, renderer)) {
            renderer.budget.charge(1);
            Object tested = attribute == null ? item : path(item, attribute);
            boolean holds = name == null
                    ? Values.truth(tested)
                    : Tests.holds(name, tested, given.from(1), renderer.budget);
            if (holds == wanted) {
                selected.add(item);
            }
        }
        return new Lazy(selected, false);
    }

    private static Object number(Object value, boolean whole, Arguments given) {
        Object otherwise = whole ? (Object) 0L : (Object) 0.0;
        otherwise = given.check(0, "default").get(0, "default", otherwise);
        if (value instanceof Undefined) {
            throw ((Undefined) value).error();
        }
        if (Values.isNumber(value)) {
            double real = Numbers.real(value);
            if (value instanceof Double && whole && Math.abs(real) >= 1L << 53) {
                throw TemplateError.unsupported("a number beyond 64 bits");
            }
            return whole ? (Object) (value instanceof Double ? (long) real : Numbers.whole(value)) : real;
        }
        return value instanceof String ? parse((String) value, whole, otherwise) : otherwise;
    }

    private static Object parse(String text, boolean whole, Object otherwise) {
        String trimmed = PyText.strip(text, null, true, true);
        int start = trimmed.startsWith("-") || trimmed.startsWith("+") ? 1 : 0;
        boolean digits = trimmed.length() > start;
        boolean plain = digits;
        for (int i = start; i < trimmed.length(); i++) {
            char c = trimmed.charAt(i);
            boolean isDigit = c >= '0' && c <= '9';
            digits &= isDigit;
            plain &= isDigit || c == '.';
        }
        boolean isReal = plain && trimmed.indexOf('.') == trimmed.lastIndexOf('.')
                && trimmed.length() > start + 1;
        if (digits && trimmed.length() < 19) {
            return whole ? (Object) Long.valueOf(trimmed) : (Object) Double.valueOf(trimmed);
        }
        if (isReal) {
            double real = Double.parseDouble(trimmed);
            return whole ? (Object) (long) real : (Object) real;
        }
        return otherwise;
    }

    private static Object json(Object value, Arguments given, Budget budget) {
        given.check(0, "ensure_ascii", "indent", "separators", "sort_keys");
        Object indent = given.get(1, "indent", null);
        String step = indent instanceof String ? (String) indent : null;
        if (indent instanceof Long) {
            step = (String) Numbers.apply("*", " ", indent, budget);
        } else if (indent != null && step == null) {
            throw TemplateError.unsupported("tojson with an indent of " + Values.typeName(indent));
        }
        String comma = step == null ? ", " : ",";
        String colon = ": ";
        Object separators = given.get(2, "separators", null);
        if (separators != null) {
            List<Object> both = Values.elements(separators, budget);
            if (both.size() != 2) {
                throw new TemplateError("gives tojson separators that are not two");
            }
            comma = PyText.str(both.get(0), budget);
            colon = PyText.str(both.get(1), budget);
        }
        boolean ascii = Values.truth(given.get(0, "ensure_ascii", false));
        boolean sorts = Values.truth(given.get(3, "sort_keys", false));
        return new PyJson(ascii, step, comma, colon, sorts, budget).write(value);
    }
}
