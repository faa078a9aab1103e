package dev.paredown.core;

/** How a bundle is measured; {@code Protocol} of the schema. */
public final class Protocol {
    /** The version of the format that this program reads. */
    public static final String SCHEMA = "paredown.protocol/2";

    /** Tokens of the measured prompt. */
    public final int promptTokens;
    /** Decode steps after it. */
    public final int generatedTokens;
    /** Tokens that are in the KV cache before the prompt. */
    public final int depth;
    /** Measured repetitions of one launch. */
    public final int repetitions;
    /** Fresh processes; the caller's business. */
    public final int launches;
    /** Repetitions thrown away at the start of a launch. */
    public final int warmup;
    /** Compute threads of the engine. */
    public final int threads;
    /** {@code big} or {@code all}; Java cannot bind a process to cores, see the launch's facts. */
    public final String affinity;
    /** {@code auto} or {@code native}. */
    public final String engine;
    /** Whether there are launches of phase cold; the caller's business. */
    public final boolean cold;
    /** Whether there is a launch of phase memory; the caller's business. */
    public final boolean memory;
    /** Temperature before each launch, or null; the caller's business. */
    public final Double cooldownCelsius;
    /** Longest wait for it, in seconds. */
    public final double cooldownLimitS;
    /** Length of a launch of phase sustained, in seconds. */
    public final double sustainedS;
    /** {@code time}, {@code cold}, {@code memory} or {@code sustained}. */
    public final String phase;

    /**
     * @param f a parsed protocol
     * @throws ParedownException naming what is unknown or of the wrong type
     */
    public Protocol(Fields f) {
        f.schema(SCHEMA);
        promptTokens = f.int32("prompt_tokens", 128);
        generatedTokens = f.int32("generated_tokens", 64);
        depth = f.int32("depth", 0);
        repetitions = f.int32("repetitions", 5);
        launches = f.int32("launches", 5);
        warmup = f.int32("warmup", 1);
        threads = f.int32("threads", 1);
        affinity = f.string("affinity", "big");
        engine = f.string("engine", "auto");
        cold = f.bool("cold", true);
        memory = f.bool("memory", true);
        cooldownCelsius = f.nullableNumber("cooldown_celsius");
        cooldownLimitS = f.number("cooldown_limit_s", 300.0);
        sustainedS = f.number("sustained_s", 0.0);
        phase = f.string("phase", "time");
        f.end();
    }

    /**
     * Read the text of a protocol.
     *
     * @throws ParedownException as the constructor, or it is not JSON
     */
    public static Protocol parse(String text, String where) {
        return new Protocol(new Fields(Json.parse(text, where), where));
    }

    /**
     * Refuse what nothing, or not this bundle in this process, can run.
     *
     * @throws ParedownException naming the value
     */
    public void check(Manifest manifest) {
        atLeast("prompt_tokens", promptTokens, 1);
        atLeast("generated_tokens", generatedTokens, 1);
        atLeast("repetitions", repetitions, 1);
        atLeast("launches", launches, 1);
        atLeast("threads", threads, 1);
        atLeast("warmup", warmup, 0);
        atLeast("depth", depth, 0);
        atLeast("sustained_s", sustainedS, 0);
        atLeast("cooldown_limit_s", cooldownLimitS, 0);
        oneOf("phase", phase, "time", "cold", "memory", "sustained");
        oneOf("affinity", affinity, "big", "all");
        oneOf("engine", engine, "auto", "native");
        if (engine.equals("native")) {
            throw ParedownException.badRequest(
                    "the app has no native runner",
                    "leave out --engine native, or use --via runner");
        }
        Generator.requireContext(
                manifest.contextLength, (long) depth + promptTokens, generatedTokens);
    }

    private static void atLeast(String name, double value, double least) {
        if (value < least) {
            String number = value == Math.rint(value) ? String.valueOf((long) value) : "" + value;
            throw ParedownException.badRequest(
                    "protocol: " + name + " is " + number, "use " + (long) least + " or more");
        }
    }

    private static void oneOf(String name, String value, String... known) {
        if (!java.util.Arrays.asList(known).contains(value)) {
            throw ParedownException.badRequest(
                    "protocol: " + name + " is '" + value + "'",
                    "known: " + String.join(", ", known));
        }
    }
}
