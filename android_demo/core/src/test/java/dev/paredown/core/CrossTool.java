package dev.paredown.core;

import dev.paredown.core.report.Estimate;
import dev.paredown.core.report.Row;
import dev.paredown.core.report.Summary;
import dev.paredown.core.report.Validity;
import java.io.BufferedReader;
import java.io.File;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Answers a test in another language: a line of JSON in, {@code {"ask": WHAT, "text": TEXT}}, a line
 * of JSON out, {@code {"answer": ...}} or {@code {"error": SENTENCE}}.
 */
public final class CrossTool {
    private CrossTool() {}

    /** @param arguments none */
    public static void main(String[] arguments) throws IOException {
        BufferedReader in =
                new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintStream out = new PrintStream(System.out, false, "UTF-8");
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            Map<String, Object> question = Json.parseObject(line, "question");
            Map<String, Object> reply = Made.map();
            try {
                String text = (String) question.get("text");
                reply.put("answer", answer((String) question.get("ask"), text));
            } catch (ParedownException error) {
                reply.put("error", error.sentence());
            }
            out.println(Json.writeCompact(reply));
        }
        out.flush();
    }

    private static Object answer(String ask, String text) {
        switch (ask) {
            case "json":
                return Json.parse(text, "text");
            case "Manifest":
                Manifest manifest = Manifest.parse(text, ask);
                return Made.list(manifest.name, manifest.modelBytes());
            case "Protocol":
                return Protocol.parse(text, ask).phase;
            case "LaunchRecord":
                return new LaunchRecord(new Fields(Json.parse(text, ask), ask)).toJson();
            case "workload":
                return workload(new Fields(Json.parse(text, ask), ask));
            default:
                return report(new Fields(Json.parse(text, ask), ask));
        }
    }

    private static Object workload(Fields asked) {
        Bundle bundle = Bundle.read(new File(asked.string("bundle")));
        Workload work = Workload.of(bundle, new Protocol(asked.object("protocol")), null);
        return Made.list(ints(work.depthIds), ints(work.promptIds));
    }

    private static List<Object> ints(int[] ids) {
        List<Object> list = new ArrayList<>();
        for (int id : ids) {
            list.add(id);
        }
        return list;
    }

    private static Object report(Fields asked) {
        List<LaunchRecord> launches = new ArrayList<>();
        for (Fields launch : asked.objects("launches")) {
            launches.add(new LaunchRecord(launch));
        }
        Protocol protocol = new Protocol(asked.object("protocol"));
        Summary summary = Summary.of(launches, protocol.promptTokens);
        Map<String, Object> rows = Made.map();
        for (Map.Entry<String, Estimate> row : summary.rows.entrySet()) {
            rows.put(row.getKey(), row.getValue().toJson());
        }
        List<Object> table = Made.list();
        for (Row row : Row.of(protocol, summary)) {
            table.add(Made.list(row.label, row.value, row.interval, row.unit));
        }
        Validity validity = Validity.judge(launches, protocol.threads);
        return Made.map(
                "rows", rows,
                "absent", new LinkedHashMap<>(summary.absent),
                "table", table,
                "verdict", validity.verdict,
                "reasons", new ArrayList<Object>(validity.reasons));
    }
}
