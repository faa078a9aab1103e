package dev.paredown.core;

import java.util.ArrayList;
import java.util.List;

/** Remembers what it was told. */
class FakeEvents implements Events {
    final List<String> told = new ArrayList<>();

    @Override
    public void repetition(int done, int total) {
        told.add(done + "/" + total);
    }

    @Override
    public void text(String piece) {
        told.add(piece);
    }
}
