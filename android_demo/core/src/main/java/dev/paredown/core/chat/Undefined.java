package dev.paredown.core.chat;

/** A name or element that is not there: prints as nothing, has no elements, is false. */
final class Undefined {
    private final String what;

    /** @param what for the error of whoever needs a value, as "'x' is undefined" */
    Undefined(String what) {
        this.what = what;
    }

    TemplateError error() {
        return new TemplateError("needs a value where " + what);
    }
}
