package dev.paredown.core.tokenizer;

import java.util.List;

/** Splits text into what is merged by itself. */
interface PreTokenizer {
    /** Append the parts of a piece; parts without text are left out by the caller. */
    void split(Piece piece, List<Piece> parts);
}
