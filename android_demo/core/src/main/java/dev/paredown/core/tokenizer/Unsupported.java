package dev.paredown.core.tokenizer;

import dev.paredown.core.ParedownException;

/** How a tokenizer.json is refused. */
final class Unsupported {
    private static final String KNOWN =
            "known: byte-level BPE as in GPT-2, Llama 3 and Qwen, BPE with byte fallback";

    private Unsupported() {}

    /** @param what names what the file asks for */
    static ParedownException because(String where, String what) {
        return ParedownException.badRequest(where + " has " + what + ", which is not supported", KNOWN);
    }
}
