package dev.paredown.core.chat;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/** json.dumps of Python, which the tojson of chat templates is. */
final class PyJson {
    private final boolean ascii;
    private final String indent;
    private final String comma;
    private final String colon;
    private final boolean sorts;
    private final Budget budget;
    private final StringBuilder out = new StringBuilder();

    /**
     * @param ascii whether other characters are escaped
     * @param indent of each level, null for one line
     * @param comma between elements, before any line end
     */
    PyJson(boolean ascii, String indent, String comma, String colon, boolean sorts, Budget budget) {
        this.ascii = ascii;
        this.indent = indent;
        this.comma = comma;
        this.colon = colon;
        this.sorts = sorts;
        this.budget = budget;
    }

    String write(Object value) {
        value(value, 0);
        return out.toString();
    }

    private void value(Object value, int level) {
        budget.enter();
        if (value == null) {
            out.append("null");
        } else if (value instanceof Boolean || value instanceof Long) {
            out.append(value);
        } else if (value instanceof Double) {
            number((Double) value);
        } else if (value instanceof String || value instanceof Safe) {
            string(PyText.str(value, budget));
        } else if (value instanceof List) {
            list((List<?>) value, level);
        } else if (value instanceof Map) {
            map((Map<?, ?>) value, level);
        } else {
            throw new TemplateError("writes " + Values.typeName(value) + " as JSON");
        }
        budget.leave();
    }

    private void number(double value) {
        if (Double.isNaN(value) || Double.isInfinite(value)) {
            out.append(Double.isNaN(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity");
        } else {
            out.append(PyText.floatText(value));
        }
    }

    private void list(List<?> list, int level) {
        out.append('[');
        boolean first = true;
        for (Object item : list) {
            separate(first, level + 1);
            value(item, level + 1);
            first = false;
        }
        close(']', list.isEmpty(), level);
    }

    private void map(Map<?, ?> map, int level) {
        out.append('{');
        boolean first = true;
        List<Object> keys = new ArrayList<>(map.keySet());
        if (sorts) {
            keys.sort(Values::order);
        }
        for (Object key : keys) {
            separate(first, level + 1);
            string(PyText.str(key, budget));
            out.append(colon);
            value(map.get(key), level + 1);
            first = false;
        }
        close('}', map.isEmpty(), level);
    }

    private void separate(boolean first, int level) {
        if (!first) {
            out.append(comma);
        }
        newLine(level);
    }

    private void close(char bracket, boolean isEmpty, int level) {
        if (!isEmpty) {
            newLine(level);
        }
        out.append(bracket);
    }

    private void newLine(int level) {
        if (indent != null) {
            budget.charge((long) level * indent.length() + 1);
            out.append('\n');
            for (int i = 0; i < level; i++) {
                out.append(indent);
            }
        }
    }

    private void string(String text) {
        budget.charge(text.length());
        out.append('"');
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            int place = "\"\\\n\r\t\b\f".indexOf(c);
            if (place >= 0) {
                out.append('\\').append("\"\\nrtbf".charAt(place));
            } else if (c < 0x20 || (ascii && c > 0x7E)) {
                out.append(String.format(Locale.ROOT, "\\u%04x", (int) c));
            } else {
                out.append(c);
            }
        }
        out.append('"');
    }
}
