package dev.paredown.core.chat;

import java.util.List;

/** What a value is given to: a name, an attribute of a namespace, or a row of these. */
final class Target {
    private final String name;
    private final String attribute;
    private final List<Target> parts;

    /**
     * @param name of a variable
     * @param attribute of the namespace of that name, or null
     */
    Target(String name, String attribute) {
        this.name = name;
        this.attribute = attribute;
        this.parts = null;
    }

    /** A value is unpacked. */
    Target(List<Target> parts) {
        this.name = null;
        this.attribute = null;
        this.parts = parts;
    }

    /** Give it a value. */
    void assign(Object value, Scope scope, Budget budget) {
        if (parts != null) {
            List<Object> items = Values.elements(value, budget);
            if (items.size() != parts.size()) {
                throw new TemplateError(
                        "unpacks " + items.size() + " values into " + parts.size() + " names");
            }
            for (int i = 0; i < items.size(); i++) {
                parts.get(i).assign(items.get(i), scope, budget);
            }
        } else if (attribute == null) {
            scope.set(name, value);
        } else {
            Object owner = scope.get(name);
            if (!(owner instanceof Namespace)) {
                throw new TemplateError("sets an attribute of what is no namespace");
            }
            ((Namespace) owner).attributes.put(attribute, value);
        }
    }
}
