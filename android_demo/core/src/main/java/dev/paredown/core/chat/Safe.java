package dev.paredown.core.chat;

/** A text marked as safe: may be put out or joined by ~, since nothing here escapes text. */
final class Safe {
    final String text;

    Safe(String text) {
        this.text = text;
    }
}
