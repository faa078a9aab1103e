package dev.paredown.core.chat;

import dev.paredown.core.Fields;
import dev.paredown.core.Json;
import dev.paredown.core.ParedownException;
import dev.paredown.core.tokenizer.TokenStream;
import dev.paredown.core.tokenizer.Tokenizer;
import java.io.BufferedReader;
import java.io.File;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Date;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Answers one JSON line with one JSON line, so that Python tests need one JVM only. */
public final class TextServer {
    private final Map<String, Tokenizer> tokenizers = new HashMap<>();

    private TextServer() {}

    /** Ends with its input. */
    public static void main(String[] arguments) throws IOException {
        TextServer server = new TextServer();
        BufferedReader in =
                new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintStream out = new PrintStream(System.out, true, "UTF-8");
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            out.println(Json.writeCompact(server.answer(line)));
        }
    }

    private Object answer(String line) {
        Map<String, Object> answer = new LinkedHashMap<>();
        try {
            Fields request = new Fields(Json.parse(line, "request"), "request");
            serve(request.string("op"), request, answer);
        } catch (ParedownException refusal) {
            answer.clear();
            answer.put("refused", refusal.getMessage());
        }
        return answer;
    }

    private void serve(String op, Fields request, Map<String, Object> answer) {
        switch (op) {
            case "open":
                String path = request.string("path");
                tokenizers.put(path, Tokenizer.open(new File(path)));
                break;
            case "encode":
                encode(request, answer);
                break;
            case "decode":
                decode(request, answer);
                break;
            case "render":
                Template template = Template.parse(request.string("template"), "the template");
                Date now = new Date(request.integer("now_ms"));
                answer.put("text", template.render(Json.object(request.any("variables"), "v"), now));
                break;
            default:
                throw new IllegalArgumentException(op);
        }
    }

    private void encode(Fields request, Map<String, Object> answer) {
        Tokenizer tokenizer = tokenizers.get(request.string("path"));
        boolean special = request.bool("special");
        List<Object> rows = new ArrayList<>();
        for (Object text : request.list("texts")) {
            rows.add(boxed(tokenizer.encode((String) text, special)));
        }
        answer.put("ids", rows);
    }

    private void decode(Fields request, Map<String, Object> answer) {
        Tokenizer tokenizer = tokenizers.get(request.string("path"));
        boolean streams = request.bool("streams");
        List<Object> all = new ArrayList<>();
        List<Object> shown = new ArrayList<>();
        List<Object> pieces = new ArrayList<>();
        for (Object row : request.list("rows")) {
            List<?> numbers = (List<?>) row;
            int[] ids = new int[numbers.size()];
            for (int i = 0; i < ids.length; i++) {
                ids[i] = ((Long) numbers.get(i)).intValue();
            }
            all.add(tokenizer.decode(ids, false));
            shown.add(tokenizer.decode(ids, true));
            if (streams) {
                pieces.add(stream(tokenizer, ids));
            }
        }
        answer.put("all", all);
        answer.put("shown", shown);
        answer.put("pieces", pieces);
    }

    private static List<Object> stream(Tokenizer tokenizer, int[] ids) {
        TokenStream stream = tokenizer.stream(new int[0]);
        List<Object> pieces = new ArrayList<>();
        for (int id : ids) {
            pieces.add(stream.push(id));
        }
        pieces.add(stream.finish());
        return pieces;
    }

    private static List<Object> boxed(int[] ids) {
        List<Object> list = new ArrayList<>();
        for (int id : ids) {
            list.add((long) id);
        }
        return list;
    }
}
