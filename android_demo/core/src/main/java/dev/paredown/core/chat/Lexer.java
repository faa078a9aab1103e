package dev.paredown.core.chat;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;

/**
 * Source to tokens, as Jinja with trim_blocks and lstrip_blocks: the newline after a tag goes, and
 * so do blanks before a tag at the start of a line; {@code -} takes all white space, {@code +} none.
 */
final class Lexer {
    private final String source;
    private final List<Token> tokens = new ArrayList<>();
    private int at;

    /** Whether the last tag took the newline after it. */
    private boolean atLineStart = true;

    Lexer(String source) {
        this.source = source;
    }

    /** Line ends as \n, without the last one. */
    static String normalize(String source) {
        String lines = source.replace("\r\n", "\n").replace('\r', '\n');
        return lines.endsWith("\n") ? lines.substring(0, lines.length() - 1) : lines;
    }

    /** @throws TemplateError a tag without end, or a character that begins no word */
    List<Token> read() {
        while (at < source.length()) {
            int tag = nextTag();
            boolean found = tag < source.length();
            char sign = tag + 2 < source.length() ? source.charAt(tag + 2) : 0;
            char kind = found ? source.charAt(tag + 1) : 0;
            data(tag, sign, kind);
            at = tag;
            if (found) {
                at = tag + (sign == '-' || sign == '+' ? 3 : 2);
                tag(kind, tag);
            }
        }
        add(Token.Kind.END, "", source.length());
        return tokens;
    }

    /** Start of the next tag, or the end. */
    private int nextTag() {
        for (int i = at; i + 1 < source.length(); i++) {
            if (source.charAt(i) == '{' && "%{#".indexOf(source.charAt(i + 1)) >= 0) {
                return i;
            }
        }
        return source.length();
    }

    private void data(int end, char sign, char kind) {
        int stop = end;
        if (kind != 0 && sign == '-') {
            while (stop > at && PyText.isSpace(source.charAt(stop - 1))) {
                stop--;
            }
        } else if (kind != 0 && sign != '+' && kind != '{') {
            int line = source.lastIndexOf('\n', end - 1) + 1;
            int from = Math.max(line, at);
            stop = (line > at || atLineStart) && isBlank(from, end) ? from : end;
        }
        if (stop > at) {
            add(Token.Kind.DATA, source.substring(at, stop), at);
        }
    }

    private boolean isBlank(int from, int to) {
        for (int i = from; i < to; i++) {
            if (!PyText.isSpace(source.charAt(i))) {
                return false;
            }
        }
        return true;
    }

    private void tag(char kind, int start) {
        if (kind == '#') {
            comment(start);
        } else if (kind == '%') {
            add(Token.Kind.BLOCK_BEGIN, "{%", start);
            words("%}", Token.Kind.BLOCK_END, start);
        } else {
            add(Token.Kind.OUTPUT_BEGIN, "{{", start);
            words("}}", Token.Kind.OUTPUT_END, start);
        }
    }

    private void comment(int start) {
        int end = source.indexOf("#}", at);
        if (end < 0) {
            throw new TemplateError("has a comment without end", start);
        }
        char sign = end > at ? source.charAt(end - 1) : 0;
        at = end + 2;
        afterTag(sign, true);
    }

    /** Past white space that belongs to the tag that just ended. */
    private void afterTag(char sign, boolean trims) {
        int from = at;
        if (sign == '-') {
            while (at < source.length() && PyText.isSpace(source.charAt(at))) {
                at++;
            }
        } else if (trims && sign != '+' && at < source.length() && source.charAt(at) == '\n') {
            at++;
        }
        atLineStart = at > from && source.charAt(at - 1) == '\n';
    }

    private void words(String end, Token.Kind endKind, int start) {
        Deque<Character> open = new ArrayDeque<>();
        while (true) {
            while (at < source.length() && PyText.isSpace(source.charAt(at))) {
                at++;
            }
            if (at >= source.length()) {
                throw new TemplateError("has a tag without end", start);
            }
            char sign = source.charAt(at);
            boolean signed = sign == '-' || (sign == '+' && endKind == Token.Kind.BLOCK_END);
            if (open.isEmpty() && source.startsWith(end, signed ? at + 1 : at)) {
                add(endKind, end, at);
                at += signed ? 3 : 2;
                afterTag(signed ? sign : 0, endKind == Token.Kind.BLOCK_END);
                return;
            }
            word(open);
        }
    }

    private void word(Deque<Character> open) {
        char c = source.charAt(at);
        if (c == '"' || c == '\'') {
            string(c);
        } else if (c >= '0' && c <= '9') {
            number();
        } else if (c == '_' || Character.isLetter(c)) {
            int start = at;
            while (at < source.length() && isNamePart(source.charAt(at))) {
                at++;
            }
            add(Token.Kind.NAME, source.substring(start, at), start);
        } else {
            operator(c, open);
        }
    }

    private static boolean isNamePart(char c) {
        return c == '_' || Character.isLetterOrDigit(c);
    }

    private void operator(char c, Deque<Character> open) {
        int length = at + 1 < source.length() && isLong(source.substring(at, at + 2)) ? 2 : 1;
        if (length == 1 && "+-*/%~[](){}<>=.:|,".indexOf(c) < 0) {
            throw new TemplateError("has the character \"" + c + "\", which begins no word", at);
        }
        if (length == 1 && "([{".indexOf(c) >= 0) {
            open.push(")]}".charAt("([{".indexOf(c)));
        } else if (length == 1 && ")]}".indexOf(c) >= 0) {
            if (open.isEmpty() || open.pop() != c) {
                throw new TemplateError("has an unmatched \"" + c + "\"", at);
            }
        }
        add(Token.Kind.OPERATOR, source.substring(at, at + length), at);
        at += length;
    }

    private static boolean isLong(String two) {
        return two.equals("**") || two.equals("//") || two.equals("==") || two.equals("!=")
                || two.equals("<=") || two.equals(">=");
    }

    private void number() {
        int start = at;
        digits();
        boolean afterDot = start > 0 && source.charAt(start - 1) == '.';
        if (!afterDot && at + 1 < source.length() && source.charAt(at) == '.'
                && isDigit(source.charAt(at + 1))) {
            at++;
            digits();
        }
        String text = source.substring(start, at);
        boolean longZero = text.length() > 1 && text.charAt(0) == '0' && text.indexOf('.') < 0;
        if (longZero || (at < source.length() && isNamePart(source.charAt(at)))) {
            throw TemplateError.unsupported("the way that a number is written", start);
        }
        add(Token.Kind.NUMBER, text, start);
    }

    private void digits() {
        while (at < source.length() && isDigit(source.charAt(at))) {
            at++;
        }
    }

    private static boolean isDigit(char c) {
        return c >= '0' && c <= '9';
    }

    private void string(char quote) {
        int start = at++;
        int from = at;
        while (at < source.length() && source.charAt(at) != quote) {
            at += source.charAt(at) == '\\' ? 2 : 1;
        }
        if (at >= source.length()) {
            throw new TemplateError("has a string without end", start);
        }
        add(Token.Kind.STRING, Escapes.decode(source.substring(from, at), start), start);
        at++;
    }

    private void add(Token.Kind kind, String text, int offset) {
        tokens.add(new Token(kind, text, offset));
    }
}
