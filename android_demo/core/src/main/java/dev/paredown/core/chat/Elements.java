package dev.paredown.core.chat;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/** Attributes, elements and slices of values. */
final class Elements {
    private Elements() {}

    /** object.name: a method or attribute comes before an element. */
    static Object attribute(Object object, String name) {
        if (object instanceof Undefined) {
            throw ((Undefined) object).error();
        }
        if (object instanceof Namespace) {
            Map<String, Object> attributes = ((Namespace) object).attributes;
            return attributes.containsKey(name) ? attributes.get(name) : missing(object, name);
        }
        if (object instanceof Loop) {
            return ((Loop) object).attribute(name);
        }
        Function method = Methods.of(object, name);
        if (method != null) {
            return method;
        }
        return object instanceof Map ? entry((Map<?, ?>) object, name) : missing(object, name);
    }

    /** object[index]: an element comes before a method or attribute. */
    static Object element(Object object, Object index) {
        if (object instanceof Undefined) {
            throw ((Undefined) object).error();
        }
        if (object instanceof Map) {
            boolean isKey = index instanceof String || index instanceof Long;
            if (isKey && ((Map<?, ?>) object).containsKey(index)) {
                return ((Map<?, ?>) object).get(index);
            }
        } else if (index instanceof Long || index instanceof Boolean) {
            return at(object, Numbers.whole(index));
        }
        return index instanceof String
                ? attribute(object, (String) index)
                : new Undefined(Values.typeName(object) + " has no such element");
    }

    private static Object entry(Map<?, ?> map, String key) {
        return map.containsKey(key) ? map.get(key) : missing(map, key);
    }

    private static Object missing(Object object, String name) {
        return new Undefined(Values.typeName(object) + " has no '" + name + "'");
    }

    private static Object at(Object object, long index) {
        if (!(object instanceof List) && !(object instanceof String)) {
            return missing(object, String.valueOf(index));
        }
        long size = Values.length(object);
        long place = index < 0 ? index + size : index;
        if (place < 0 || place >= size) {
            return missing(object, String.valueOf(index));
        }
        if (object instanceof List) {
            return ((List<?>) object).get((int) place);
        }
        String text = (String) object;
        int start = text.offsetByCodePoints(0, (int) place);
        return text.substring(start, text.offsetByCodePoints(start, 1));
    }

    /** object[start:stop:step] with Python's rules; a bound of null is not given. */
    static Object slice(Object object, Object[] bounds, Budget budget) {
        if (object instanceof Undefined) {
            throw ((Undefined) object).error();
        }
        if (!(object instanceof List) && !(object instanceof String)) {
            throw new TemplateError("takes a slice of " + Values.typeName(object));
        }
        List<Object> items = Values.elements(object, budget);
        long step = bound(bounds[2], 1);
        if (step == 0) {
            throw new TemplateError("takes a slice with a step of 0");
        }
        int size = items.size();
        long start = limit(bound(bounds[0], step > 0 ? 0 : size), size, step);
        long none = step > 0 ? size : -1L - size;
        long stop = limit(bound(bounds[1], none), size, step);
        List<Object> taken = new ArrayList<>();
        for (long i = start; step > 0 ? i < stop : i > stop; i += step) {
            taken.add(items.get((int) i));
        }
        budget.charge(taken.size());
        if (object instanceof String) {
            StringBuilder text = new StringBuilder();
            for (Object item : taken) {
                text.append(item);
            }
            return text.toString();
        }
        return object instanceof Tuple ? new Tuple(taken) : taken;
    }

    private static long bound(Object value, long otherwise) {
        if (value == null) {
            return otherwise;
        }
        if (value instanceof Long || value instanceof Boolean) {
            return Math.max(-(1L << 40), Math.min(1L << 40, Numbers.whole(value)));
        }
        throw new TemplateError("takes a slice with " + Values.typeName(value) + " as a bound");
    }

    private static long limit(long bound, int size, long step) {
        long place = bound < 0 ? bound + size : bound;
        long least = step > 0 ? 0 : -1;
        long most = step > 0 ? size : size - 1L;
        return Math.max(least, Math.min(most, place));
    }
}
