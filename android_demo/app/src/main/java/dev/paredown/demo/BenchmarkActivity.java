package dev.paredown.demo;

import android.app.Activity;
import android.content.ClipData;
import android.content.Intent;
import android.net.Uri;
import android.os.Bundle;
import android.view.View;
import android.widget.Button;
import android.widget.EditText;
import android.widget.TableLayout;
import android.widget.TextView;
import java.io.File;
import java.util.ArrayList;

/** The rows of `paredown profile`, measured here. All state is the run's. */
public final class BenchmarkActivity extends Activity implements BenchmarkRun.Listener {
    /** Extra: the chosen bundle. */
    static final String FOLDER = "folder";

    private static final int MOST_THREADS = 64;

    private BenchmarkRun benchmark;
    private File folder;
    private TextView heading;
    private TextView status;
    private EditText threads;
    private Button run;
    private Button stop;
    private Button share;
    private TableLayout table;
    private TextView verdict;
    private BenchmarkResult shown;

    @Override
    protected void onCreate(Bundle saved) {
        super.onCreate(saved);
        setContentView(R.layout.benchmark);
        benchmark = DemoApplication.of(this).benchmark();
        String path = getIntent().getStringExtra(FOLDER);
        folder = path == null ? null : new File(path);
        heading = findViewById(R.id.heading);
        status = findViewById(R.id.status);
        threads = findViewById(R.id.threads);
        run = findViewById(R.id.run);
        stop = findViewById(R.id.stop);
        share = findViewById(R.id.share);
        table = findViewById(R.id.rows);
        verdict = findViewById(R.id.verdict);
        if (saved == null) {
            threads.setText(String.valueOf(Engines.defaultThreads()));
        }
        run.setOnClickListener(view -> start());
        stop.setOnClickListener(view -> benchmark.stop());
        share.setOnClickListener(view -> share());
    }

    @Override
    protected void onStart() {
        super.onStart();
        benchmark.listen(this);
        changed();
    }

    @Override
    protected void onStop() {
        benchmark.forget(this);
        super.onStop();
    }

    @Override
    protected void onDestroy() {
        if (isFinishing()) { // left, not turned
            benchmark.stop();
        }
        super.onDestroy();
    }

    @Override
    public void changed() {
        BenchmarkPlan plan = benchmark.plan();
        if (plan == null) {
            heading.setText(folder == null ? getString(R.string.choose_first) : folder.getName());
        } else {
            heading.setText(getString(R.string.benchmark_of, plan.bundleName(), plan.label()));
        }
        if (!status.getText().toString().equals(benchmark.notice())) {
            status.setText(benchmark.notice());
        }
        run.setEnabled(folder != null && !benchmark.running());
        stop.setEnabled(benchmark.running());
        share.setEnabled(!benchmark.reports().isEmpty() && !benchmark.running());
        showResult();
    }

    private void start() {
        // The chat's engine would take memory and heat of its own.
        DemoApplication.of(this).workshop().letGo(getString(R.string.benchmark_took_over));
        benchmark.start(folder, threads());
    }

    private int threads() {
        try {
            int count = Integer.parseInt(threads.getText().toString());
            return Math.max(1, Math.min(count, MOST_THREADS));
        } catch (NumberFormatException empty) {
            return Engines.defaultThreads();
        }
    }

    private void showResult() {
        if (benchmark.result() == shown) {
            return;
        }
        shown = benchmark.result();
        table.removeAllViews();
        verdict.setText("");
        if (shown == null) {
            return;
        }
        for (BenchmarkResult.Line line : shown.lines()) {
            View view = getLayoutInflater().inflate(R.layout.row, table, false);
            TextView label = view.findViewById(R.id.row_label);
            label.setText(line.label);
            TextView value = view.findViewById(R.id.row_value);
            value.setText(line.value);
            view.setContentDescription(getString(R.string.row_spoken, line.label, line.value));
            table.addView(view);
        }
        verdict.setText(getString(R.string.validity, shown.verdict(), shown.reasons()));
    }

    /** The files of the launches, as every other device writes them. */
    private void share() {
        ArrayList<Uri> uris = new ArrayList<>();
        for (File report : benchmark.reports()) {
            uris.add(ReportProvider.uri(report));
        }
        Intent intent = new Intent(Intent.ACTION_SEND_MULTIPLE);
        intent.setType(ReportProvider.TYPE);
        intent.putParcelableArrayListExtra(Intent.EXTRA_STREAM, uris);
        ClipData clip = ClipData.newRawUri("", uris.get(0));
        for (Uri uri : uris.subList(1, uris.size())) {
            clip.addItem(new ClipData.Item(uri));
        }
        intent.setClipData(clip);
        intent.addFlags(Intent.FLAG_GRANT_READ_URI_PERMISSION);
        startActivity(Intent.createChooser(intent, getString(R.string.share_title)));
    }
}
