package dev.paredown.core.tokenizer;

/** Text between added tokens, or a part of it. */
final class Piece {
    final String text;

    /** Whether it begins where all of the text begins. */
    final boolean isFirst;

    Piece(String text, boolean isFirst) {
        this.text = text;
        this.isFirst = isFirst;
    }
}
