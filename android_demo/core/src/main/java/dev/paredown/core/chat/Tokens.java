package dev.paredown.core.chat;

import java.util.List;

/** Tokens one after the other. */
final class Tokens {
    private final List<Token> tokens;
    private int at;

    Tokens(List<Token> tokens) {
        this.tokens = tokens;
    }

    Token peek() {
        return tokens.get(at);
    }

    /** The token after the next one. */
    Token peekSecond() {
        return tokens.get(Math.min(at + 1, tokens.size() - 1));
    }

    /** The next token; the end is never passed. */
    Token next() {
        Token token = tokens.get(at);
        at += token.kind == Token.Kind.END ? 0 : 1;
        return token;
    }

    /** Where the next token is. */
    int here() {
        return peek().offset;
    }

    Token expect(Token.Kind kind) {
        if (peek().kind != kind) {
            throw unexpected();
        }
        return next();
    }

    void expectOperator(String operator) {
        if (!skipOperator(operator)) {
            throw unexpected();
        }
    }

    void expectName(String name) {
        if (!skipName(name)) {
            throw unexpected();
        }
    }

    boolean skipOperator(String operator) {
        return skip(Token.Kind.OPERATOR, operator);
    }

    boolean skipName(String name) {
        return skip(Token.Kind.NAME, name);
    }

    private boolean skip(Token.Kind kind, String text) {
        boolean here = peek().is(kind, text);
        at += here ? 1 : 0;
        return here;
    }

    TemplateError unexpected() {
        return new TemplateError("has " + peek().describe() + " where it is not expected", here());
    }
}
