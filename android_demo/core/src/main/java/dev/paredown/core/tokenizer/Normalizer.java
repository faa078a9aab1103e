package dev.paredown.core.tokenizer;

/** Changes text before it is split. */
interface Normalizer {
    /** The changed text. */
    String normalize(String text);
}
