package dev.paredown.core;

import java.io.File;
import java.io.FileOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.StandardCopyOption;

/** Whole files of UTF-8 text. */
public final class TextFiles {
    private TextFiles() {}

    /**
     * All of a file.
     *
     * @throws ParedownException it cannot be read, or is no UTF-8
     */
    public static String read(File file) {
        try {
            ByteBuffer bytes = ByteBuffer.wrap(Files.readAllBytes(file.toPath()));
            return StandardCharsets.UTF_8.newDecoder().decode(bytes).toString();
        } catch (CharacterCodingException error) {
            throw ParedownException.brokenBundle(file + " is not UTF-8 text");
        } catch (IOException error) {
            String reason = error.getClass().getSimpleName();
            throw ParedownException.badRequest("cannot read " + file + " (" + reason + ")", "");
        }
    }

    /**
     * Write a file that is there whole or not at all: under another name, to the disk, renamed.
     *
     * @throws ParedownException there is no room or no permission; nothing is left behind
     */
    public static void write(File file, String text) {
        File part = new File(file.getParentFile(), "." + file.getName() + ".part");
        try {
            try (FileOutputStream stream = new FileOutputStream(part)) {
                stream.write(text.getBytes(StandardCharsets.UTF_8));
                stream.getFD().sync();
            }
            Files.move(
                    part.toPath(),
                    file.toPath(),
                    StandardCopyOption.REPLACE_EXISTING,
                    StandardCopyOption.ATOMIC_MOVE);
        } catch (IOException error) {
            part.delete();
            String reason = String.valueOf(error.getMessage());
            throw ParedownException.badRequest(
                    "cannot write " + file + ": " + reason, "free some space, check the folder");
        }
    }
}
