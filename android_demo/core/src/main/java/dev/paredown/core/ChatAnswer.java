package dev.paredown.core;

import java.util.LinkedHashMap;
import java.util.Map;

/** What a chat left. */
public final class ChatAnswer {
    /** The version of the format that this program writes. */
    public static final String SCHEMA = "paredown.android-chat/1";

    /** The whole answer. */
    public final String text;
    /** Tokens of the prompt, chat template included. */
    public final int promptTokens;
    /** Tokens of the answer, the end token included. */
    public final int generatedTokens;
    /** From the start of the prompt to the choice of the first token, in milliseconds. */
    public final double ttftMs;

    ChatAnswer(String text, int promptTokens, int generatedTokens, double ttftMs) {
        this.text = text;
        this.promptTokens = promptTokens;
        this.generatedTokens = generatedTokens;
        this.ttftMs = ttftMs;
    }

    /** As the host reads it. */
    public Map<String, Object> toJson() {
        Map<String, Object> json = new LinkedHashMap<>();
        json.put("schema", SCHEMA);
        json.put("text", text);
        json.put("prompt_tokens", promptTokens);
        json.put("generated_tokens", generatedTokens);
        json.put("ttft_ms", ttftMs);
        return json;
    }
}
