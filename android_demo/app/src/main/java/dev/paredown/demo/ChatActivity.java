package dev.paredown.demo;

import android.app.Activity;
import android.content.Intent;
import android.os.Bundle;
import android.view.Menu;
import android.view.MenuItem;
import android.view.View;
import android.widget.AdapterView;
import android.widget.ArrayAdapter;
import android.widget.Button;
import android.widget.EditText;
import android.widget.ScrollView;
import android.widget.Spinner;
import android.widget.TextView;
import dev.paredown.core.report.Row;
import java.io.File;
import java.util.List;

/** Pick a bundle, ask it something, watch it answer. All state is the workshop's. */
public final class ChatActivity extends Activity implements Workshop.Listener {
    private static final String FOLDER = "folder";
    private static final double BYTES_PER_MB = 1e6;

    private Workshop workshop;
    private Spinner bundles;
    private TextView status;
    private TextView answer;
    private ScrollView scroll;
    private EditText prompt;
    private Button send;
    private Button stop;
    private Figure firstToken;
    private Figure speed;
    private Figure memory;
    private List<Folders.Found> shown;

    @Override
    protected void onCreate(Bundle saved) {
        super.onCreate(saved);
        setContentView(R.layout.chat);
        workshop = DemoApplication.of(this).workshop();
        bundles = findViewById(R.id.bundles);
        status = findViewById(R.id.status);
        answer = findViewById(R.id.answer);
        scroll = findViewById(R.id.answer_scroll);
        prompt = findViewById(R.id.prompt);
        send = findViewById(R.id.send);
        stop = findViewById(R.id.stop);
        firstToken = new Figure(findViewById(R.id.first_token), R.string.first_token_label);
        speed = new Figure(findViewById(R.id.speed), R.string.speed_label);
        memory = new Figure(findViewById(R.id.memory), R.string.memory_label);
        send.setOnClickListener(view -> workshop.ask(prompt.getText().toString()));
        stop.setOnClickListener(view -> workshop.stop());
        findViewById(R.id.refresh).setOnClickListener(view -> workshop.look());
        bundles.setOnItemSelectedListener(new Choice());
        String folder = saved == null ? null : saved.getString(FOLDER);
        if (workshop.folder() == null && folder != null) { // Android had ended the process
            workshop.choose(new File(folder));
        }
    }

    @Override
    protected void onStart() {
        super.onStart();
        workshop.listen(this);
        workshop.look();
        changed();
    }

    @Override
    protected void onStop() {
        workshop.forget(this);
        super.onStop();
    }

    @Override
    protected void onDestroy() {
        if (isFinishing()) { // closed, not turned
            workshop.stop();
        }
        super.onDestroy();
    }

    @Override
    protected void onSaveInstanceState(Bundle state) {
        super.onSaveInstanceState(state);
        if (workshop.folder() != null) {
            state.putString(FOLDER, workshop.folder().getPath());
        }
    }

    @Override
    public boolean onCreateOptionsMenu(Menu menu) {
        getMenuInflater().inflate(R.menu.chat, menu);
        return true;
    }

    @Override
    public boolean onOptionsItemSelected(MenuItem item) {
        if (item.getItemId() != R.id.open_benchmark) {
            return super.onOptionsItemSelected(item);
        }
        Intent intent = new Intent(this, BenchmarkActivity.class);
        if (workshop.folder() != null) {
            intent.putExtra(BenchmarkActivity.FOLDER, workshop.folder().getPath());
        }
        startActivity(intent);
        return true;
    }

    @Override
    public void changed() {
        showBundles();
        setTextIfNew(status, workshop.notice().isEmpty() ? emptyNotice() : workshop.notice());
        setTextIfNew(answer, workshop.answer());
        if (workshop.stage() == Workshop.Stage.ANSWERING) {
            scroll.post(() -> scroll.scrollTo(0, answer.getHeight()));
        }
        send.setEnabled(!workshop.busy() && workshop.folder() != null);
        stop.setEnabled(workshop.busy());
        firstToken.show(milliseconds(workshop.firstTokenMs()));
        speed.show(speed(workshop.tokensPerSecond()));
        memory.show(megabytes(workshop.memoryBytes()));
    }

    private String emptyNotice() {
        return workshop.looked() && workshop.found().isEmpty()
                ? getString(R.string.no_bundles, Folders.SHARED)
                : getString(R.string.choose_first);
    }

    private void showBundles() {
        if (workshop.found() == shown) {
            return;
        }
        shown = workshop.found();
        ArrayAdapter<Object> adapter =
                new ArrayAdapter<>(this, android.R.layout.simple_spinner_item);
        adapter.setDropDownViewResource(android.R.layout.simple_spinner_dropdown_item);
        adapter.add(getString(R.string.choose_first));
        adapter.addAll(shown);
        bundles.setAdapter(adapter);
        for (int i = 0; i < shown.size(); i++) {
            if (shown.get(i).folder.equals(workshop.folder())) {
                bundles.setSelection(i + 1);
            }
        }
    }

    /** A text that is set again is read aloud again, and loses its selection. */
    private static void setTextIfNew(TextView view, CharSequence text) {
        if (!view.getText().toString().contentEquals(text)) {
            view.setText(text.toString());
        }
    }

    private String milliseconds(Double value) {
        return value == null
                ? getString(R.string.no_value)
                : getString(R.string.milliseconds, Row.digits(value));
    }

    private String speed(Double value) {
        return value == null
                ? getString(R.string.no_value)
                : getString(R.string.tokens_per_second, Row.digits(value));
    }

    private String megabytes(Long bytes) {
        return bytes == null
                ? getString(R.string.no_value)
                : getString(R.string.megabytes, Row.digits(bytes / BYTES_PER_MB));
    }

    /** The user's choice; a list that is filled anew chooses what is chosen already. */
    private final class Choice implements AdapterView.OnItemSelectedListener {
        @Override
        public void onItemSelected(AdapterView<?> list, View view, int place, long id) {
            if (place > 0) {
                File folder = shown.get(place - 1).folder;
                if (!folder.equals(workshop.folder())) {
                    workshop.choose(folder);
                }
            }
        }

        @Override
        public void onNothingSelected(AdapterView<?> list) {
            // nothing is chosen
        }
    }
}
