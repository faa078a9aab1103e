package dev.paredown.core.chat;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** Tokens to statements. */
final class Parser {
    private final ExpressionParser expressions;
    private final Tokens tokens;
    private int depth;
    private int loops;

    Parser(List<Token> tokens) {
        this.tokens = new Tokens(tokens);
        this.expressions = new ExpressionParser(this.tokens);
    }

    /** @throws TemplateError it is no template, or uses what is not supported */
    List<Statement> read() {
        return body();
    }

    /** Whether a test is one of Jinja's operators, as select("==", 1) has it. */
    static boolean isOperatorTest(String name) {
        return Arrays.asList("==", "!=", "<", "<=", ">", ">=").contains(name);
    }

    /** The name of an operator as a test, other names as they are. */
    static String testName(String name) {
        switch (name) {
            case "==":
                return "eq";
            case "!=":
                return "ne";
            case "<":
                return "lt";
            case "<=":
                return "le";
            case ">":
                return "gt";
            case ">=":
                return "ge";
            default:
                return name;
        }
    }

    /** Statements up to one of the words that end them, which is the next token, or the end. */
    private List<Statement> body(String... ends) {
        if (++depth > Budget.MOST_DEPTH) {
            throw new TemplateError("nests too many statements", tokens.here());
        }
        List<Statement> body = new ArrayList<>();
        while (true) {
            Token token = tokens.next();
            if (token.kind == Token.Kind.DATA) {
                body.add(new Statements.Data(token.offset, token.text));
            } else if (token.kind == Token.Kind.OUTPUT_BEGIN) {
                body.add(new Statements.Output(token.offset, expressions.tuple(true)));
                tokens.expect(Token.Kind.OUTPUT_END);
            } else if (token.kind == Token.Kind.BLOCK_BEGIN) {
                if (Arrays.asList(ends).contains(tokens.peek().text)) {
                    break;
                }
                body.add(statement());
                tokens.expect(Token.Kind.BLOCK_END);
            } else {
                if (ends.length > 0) {
                    throw new TemplateError("lacks " + ends[ends.length - 1], token.offset);
                }
                break;
            }
        }
        depth--;
        return body;
    }

    private Statement statement() {
        Token word = tokens.expect(Token.Kind.NAME);
        switch (word.text) {
            case "if":
                return condition(word.offset);
            case "for":
                return loop(word.offset);
            case "set":
                return set(word.offset);
            case "macro":
                return macro(word.offset);
            case "break":
            case "continue":
                if (loops == 0) {
                    throw new TemplateError("has " + word.text + " outside of a loop", word.offset);
                }
                boolean leaves = word.text.equals("break");
                return new Statements.Leave(word.offset, leaves ? Flow.BREAK : Flow.CONTINUE);
            case "generation":
                return new Statements.Generation(word.offset, block("endgeneration"));
            default:
                throw TemplateError.unsupported("{% " + word.text + " %}", word.offset);
        }
    }

    /** The end of the opening tag, the body, and the word that ends it. */
    private List<Statement> block(String end) {
        tokens.expect(Token.Kind.BLOCK_END);
        int outer = loops;
        loops = 0;
        List<Statement> body = body(end);
        loops = outer;
        tokens.next();
        return body;
    }

    private Statement condition(int offset) {
        Statements.If statement = new Statements.If(offset);
        Token word;
        do {
            Expression condition = expressions.tuple(false);
            tokens.expect(Token.Kind.BLOCK_END);
            statement.add(condition, body("elif", "else", "endif"));
            word = tokens.next();
        } while (word.text.equals("elif"));
        if (word.text.equals("else")) {
            tokens.expect(Token.Kind.BLOCK_END);
            statement.add(null, body("endif"));
            tokens.next();
        }
        return statement;
    }

    private Statement loop(int offset) {
        Target target = target(false);
        tokens.expectName("in");
        Expression iterable = expressions.tuple(false);
        Expression filter = tokens.skipName("if") ? expressions.expression() : null;
        if (tokens.peek().is(Token.Kind.NAME, "recursive")) {
            throw TemplateError.unsupported("a recursive loop", tokens.here());
        }
        tokens.expect(Token.Kind.BLOCK_END);
        loops++;
        List<Statement> body = body("else", "endfor");
        loops--;
        List<Statement> otherwise = new ArrayList<>();
        if (tokens.next().text.equals("else")) {
            tokens.expect(Token.Kind.BLOCK_END);
            otherwise = body("endfor");
            tokens.next();
        }
        return new Statements.For(offset, target, iterable, filter, body, otherwise);
    }

    private Statement set(int offset) {
        Target target = target(true);
        if (tokens.skipOperator("=")) {
            return new Statements.Assign(offset, target, expressions.tuple(true));
        }
        if (tokens.peek().is(Token.Kind.OPERATOR, "|")) {
            throw TemplateError.unsupported("a filter of a set block", tokens.here());
        }
        return new Statements.Capture(offset, target, block("endset"));
    }

    private Target target(boolean attributes) {
        List<Target> parts = new ArrayList<>();
        boolean isRow = false;
        do {
            if (isRow && tokens.peek().kind != Token.Kind.NAME
                    && !tokens.peek().is(Token.Kind.OPERATOR, "(")) {
                break;
            }
            parts.add(single(attributes));
            isRow |= tokens.peek().is(Token.Kind.OPERATOR, ",");
        } while (tokens.skipOperator(","));
        return isRow ? new Target(parts) : parts.get(0);
    }

    private Target single(boolean attributes) {
        if (tokens.skipOperator("(")) {
            Target row = target(attributes);
            tokens.expectOperator(")");
            return row;
        }
        Token name = tokens.expect(Token.Kind.NAME);
        if (attributes && tokens.skipOperator(".")) {
            Token attribute = tokens.expect(Token.Kind.NAME);
            ExpressionParser.refusePrivate(attribute);
            return new Target(name.text, attribute.text);
        }
        return new Target(name.text, null);
    }

    private Statement macro(int offset) {
        String name = tokens.expect(Token.Kind.NAME).text;
        List<String> parameters = new ArrayList<>();
        List<Expression> defaults = new ArrayList<>();
        tokens.expectOperator("(");
        while (!tokens.skipOperator(")")) {
            if (!parameters.isEmpty()) {
                tokens.expectOperator(",");
            }
            parameters.add(tokens.expect(Token.Kind.NAME).text);
            defaults.add(tokens.skipOperator("=") ? expressions.expression() : null);
        }
        List<Statement> body = block("endmacro");
        return new Statements.Macro(offset, name, parameters, defaults, body);
    }
}
