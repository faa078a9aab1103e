package dev.paredown.demo;

import android.view.View;
import android.widget.TextView;

/** A number with its name below; a screen reader says both as one. */
final class Figure {
    private final View whole;
    private final TextView value;
    private final String label;

    Figure(View whole, int labelId) {
        this.whole = whole;
        this.value = whole.findViewById(R.id.figure_value);
        this.label = whole.getContext().getString(labelId);
        TextView below = whole.findViewById(R.id.figure_label);
        below.setText(label);
    }

    /** @param text with its unit */
    void show(String text) {
        value.setText(text);
        whole.setContentDescription(
                whole.getContext().getString(R.string.row_spoken, label, text));
    }
}
