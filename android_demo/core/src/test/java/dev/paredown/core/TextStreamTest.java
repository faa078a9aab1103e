package dev.paredown.core;

import static org.junit.Assert.assertEquals;

import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import org.junit.Test;

/** A codec whose tokens are bytes of UTF-8, and which drops a blank at the start of a text. */
public class TextStreamTest {
    private static final TextCodec BYTES = new TextCodec() {
        @Override
        public int[] promptIds(String text) {
            byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
            int[] ids = new int[bytes.length];
            for (int i = 0; i < ids.length; i++) {
                ids[i] = bytes[i] & 255;
            }
            return ids;
        }

        @Override
        public String decode(int[] ids) {
            ByteArrayOutputStream bytes = new ByteArrayOutputStream();
            for (int id : ids) {
                bytes.write(id);
            }
            String text = new String(bytes.toByteArray(), StandardCharsets.UTF_8);
            return text.startsWith(" ") ? text.substring(1) : text;
        }
    };

    private static String stream(TextStream stream, String text) {
        StringBuilder pieces = new StringBuilder();
        for (int id : BYTES.promptIds(text)) {
            String piece = stream.push(id);
            pieces.append(piece).append(piece.isEmpty() ? "" : "|");
        }
        return pieces.append(stream.flush()).toString();
    }

    @Test
    public void aCharacterComesWhole() {
        TextStream stream = new TextStream(BYTES, new int[0]);
        assertEquals("a|\u00fc|\ud83d\ude00|b|", stream(stream, "a\u00fc\ud83d\ude00b"));
    }

    @Test
    public void aBlankAfterAPromptStays() {
        assertEquals(" |b|", stream(new TextStream(BYTES, BYTES.promptIds("Hi")), " b"));
        assertEquals("b|", stream(new TextStream(BYTES, new int[0]), " b"));
    }

    @Test
    public void halfACharacterAtTheEndIsToldAsTheDecoderRendersIt() {
        TextStream stream = new TextStream(BYTES, BYTES.promptIds("Hi"));
        assertEquals("", stream.push(0xc3));
        assertEquals("\ufffd", stream.flush());
        assertEquals("", stream.flush());
    }

    @Test
    public void theLineOfAnInstrumentation() {
        assertEquals("a\\\\n\\nb\\r", StatusText.escape("a\\n\nb\r"));
    }
}
