package dev.paredown.core.chat;

/** Why a template cannot be read or rendered; {@link Template} adds the place. */
final class TemplateError extends RuntimeException {
    private static final long serialVersionUID = 1L;
    private static final int NOWHERE = -1;

    private int offset = NOWHERE;

    /** @param what goes on from "the template" */
    TemplateError(String what) {
        super(what);
    }

    /** @param offset where in the source */
    TemplateError(String what, int offset) {
        super(what);
        this.offset = offset;
    }

    /** Something that Jinja has and this does not. */
    static TemplateError unsupported(String construct, int offset) {
        return new TemplateError("uses " + construct + ", which is not supported", offset);
    }

    /** As {@link #unsupported(String, int)}, found while rendering. */
    static TemplateError unsupported(String construct) {
        return unsupported(construct, NOWHERE);
    }

    /** Say where, unless a more exact place is known. */
    TemplateError at(int place) {
        offset = offset == NOWHERE ? place : offset;
        return this;
    }

    int offset() {
        return offset;
    }
}
