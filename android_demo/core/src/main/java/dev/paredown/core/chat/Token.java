package dev.paredown.core.chat;

/** A word of a template. */
final class Token {
    /** What kinds there are. */
    enum Kind {
        /** Text between tags. */
        DATA,
        BLOCK_BEGIN, BLOCK_END, OUTPUT_BEGIN, OUTPUT_END,
        NAME, STRING, NUMBER, OPERATOR, END
    }

    final Kind kind;

    /** Of DATA and STRING what it says, of the others as it is written. */
    final String text;

    /** Where it begins in the source. */
    final int offset;

    Token(Kind kind, String text, int offset) {
        this.kind = kind;
        this.text = text;
        this.offset = offset;
    }

    boolean is(Kind wanted, String word) {
        return kind == wanted && text.equals(word);
    }

    /** For an error. */
    String describe() {
        switch (kind) {
            case BLOCK_END:
                return "the end of a tag";
            case OUTPUT_END:
                return "the end of an output";
            case END:
                return "the end";
            default:
                return "\"" + text + "\"";
        }
    }
}
