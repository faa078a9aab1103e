package dev.paredown.core;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertThrows;
import static org.junit.Assert.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.junit.Test;

public class JsonTest {
    @Test
    public void valuesOfEveryKind() {
        Object value = Json.parse(
                " {\"a\": [1, -0, 2.5, 1e3, true, false, null, \"\"], \"b\": {}}\n", "text");
        Map<String, Object> expected = Made.map(
                "a", Made.list(1L, 0L, 2.5, 1000.0, true, false, null, ""), "b", Made.map());
        assertEquals(expected, value);
    }

    @Test
    public void textsWithEscapes() {
        String text = "\"\\\" \\\\ \\/ \\b\\f\\n\\r\\t \\u00e9 \\ud83d\\ude00 \u00fc\"";
        assertEquals("\" \\ / \b\f\n\r\t \u00e9 \ud83d\ude00 \u00fc", Json.parse(text, "text"));
    }

    @Test
    public void wholeNumbersOf64BitsAreExactAndLargerOnesAreDoubles() {
        assertEquals(Long.MAX_VALUE, Json.parse("9223372036854775807", "n"));
        assertEquals(Long.MIN_VALUE, Json.parse("-9223372036854775808", "n"));
        assertEquals(9.223372036854775808e18, Json.parse("9223372036854775808", "n"));
        assertEquals(1e30, Json.parse("1000000000000000000000000000000", "n"));
    }

    @Test
    public void everythingElseIsRefusedWithItsPlace() {
        refused("", "it ends early, line 1 column 1");
        refused("{", "a key is expected, line 1 column 2");
        refused("[1,\n 2", "',' is expected, line 2 column 3");
        refused("[1,]", "']' begins no value, line 1 column 4");
        refused("{\"a\":1,}", "a key is expected, line 1 column 8");
        refused("{\"a\":1,\"a\":2}", "the key \"a\" is there twice, line 1 column 11");
        refused("{'a':1}", "a key is expected, line 1 column 2");
        refused("1 2", "there is more after the end, line 1 column 3");
        refused("NaN", "'N' begins no value, line 1 column 1");
        refused("Infinity", "'I' begins no value, line 1 column 1");
        refused("1e999", "the number is too large, line 1 column 6");
        refused("01", "a number begins with 0, line 1 column 3");
        refused("1.", "it ends early, line 1 column 3");
        refused("-", "it ends early, line 1 column 2");
        refused("+1", "'+' begins no value, line 1 column 1");
        refused("truth", "'t' begins no value, line 1 column 1");
        refused("\"a", "it ends early, line 1 column 3");
        refused("\"a\nb\"", "a text holds a control character, line 1 column 3");
        refused("\"\\x\"", "unknown escape, line 1 column 4");
        refused("\"\\u00g0\"", "\\u needs four hexadecimal digits, line 1 column 6");
        refused("\u00a01", "'\u00a0' begins no value, line 1 column 1");
    }

    @Test
    public void nestingHasALimitAndNoStackOverflow() {
        StringBuilder deep = new StringBuilder();
        for (int i = 0; i < 100_000; i++) {
            deep.append('[');
        }
        refused(deep.toString(), "it is nested deeper than 200 levels, line 1 column 202");
        deep.setLength(0);
        for (int i = 0; i < Json.MAX_DEPTH; i++) {
            deep.insert(0, '[').append(']');
        }
        assertTrue(Json.parse(deep.toString(), "text") instanceof List);
    }

    private static void refused(String text, String what) {
        ParedownException error =
                assertThrows(ParedownException.class, () -> Json.parse(text, "text"));
        assertEquals("text is not JSON: " + what, error.getMessage());
    }

    @Test
    public void writtenAsPythonWritesIt() {
        Object value = Made.map(
                "a", Made.list(1, 2L), "b", Made.map(), "c", Made.list(), "d", null,
                "e", "\u00fc\n\t\u0001\"\\", "f", true, "g", 0.5);
        String expected = "{\n  \"a\": [\n    1,\n    2\n  ],\n  \"b\": {},\n  \"c\": [],\n"
                + "  \"d\": null,\n  \"e\": \"\u00fc\\n\\u0009\\u0001\\\"\\\\\",\n  \"f\": true,\n"
                + "  \"g\": 0.5\n}\n";
        assertEquals(expected, Json.write(value));
        assertEquals("{\"a\":[1,{\"b\":2.0}]}",
                Json.writeCompact(Made.map("a", Made.list(1, Made.map("b", 2.0)))));
    }

    @Test
    public void halfAPairIsEscapedBecauseUtf8CannotWriteIt() {
        assertEquals("\"\\ud83d\"", Json.writeCompact("\ud83d"));
        assertEquals("\"\\ude00a\"", Json.writeCompact("\ude00a"));
        assertEquals("\"\ud83d\ude00\"", Json.writeCompact("\ud83d\ude00"));
    }

    @Test
    public void whatHasNoJsonIsRefused() {
        for (Object value : new Object[] {Double.NaN, Double.POSITIVE_INFINITY, 'c', new int[1]}) {
            assertThrows(IllegalArgumentException.class, () -> Json.write(value));
        }
    }

    @Test
    public void randomValuesComeBackAsTheyWere() {
        Random random = new Random(3);
        for (int i = 0; i < 500; i++) {
            Object value = randomValue(random, 4);
            assertEquals(value, Json.parse(Json.write(value), "text"));
            assertEquals(value, Json.parse(Json.writeCompact(value), "text"));
        }
    }

    private static Object randomValue(Random random, int depth) {
        switch (random.nextInt(depth > 0 ? 8 : 6)) {
            case 0:
                return null;
            case 1:
                return random.nextBoolean();
            case 2:
                return random.nextLong() >> random.nextInt(64);
            case 3:
                return finite(Double.longBitsToDouble(random.nextLong()));
            case 4:
                return random.nextGaussian();
            case 5:
                return randomText(random);
            case 6:
                List<Object> list = new ArrayList<>();
                for (int i = random.nextInt(4); i > 0; i--) {
                    list.add(randomValue(random, depth - 1));
                }
                return list;
            default:
                Map<String, Object> map = Made.map();
                for (int i = random.nextInt(4); i > 0; i--) {
                    map.put(randomText(random), randomValue(random, depth - 1));
                }
                return map;
        }
    }

    private static double finite(double value) {
        return Double.isNaN(value) || Double.isInfinite(value) ? 0.25 : value;
    }

    /** Any 16-bit units, so also halves of pairs. */
    private static String randomText(Random random) {
        StringBuilder text = new StringBuilder();
        for (int i = random.nextInt(6); i > 0; i--) {
            text.append((char) random.nextInt(random.nextBoolean() ? 128 : 65536));
        }
        return text.toString();
    }
}
