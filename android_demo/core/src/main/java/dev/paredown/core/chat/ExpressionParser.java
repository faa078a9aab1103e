package dev.paredown.core.chat;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** Tokens to expressions, with Jinja's precedence: tests and filters bind closest. */
final class ExpressionParser {
    private final Tokens tokens;
    private int depth;

    ExpressionParser(Tokens tokens) {
        this.tokens = tokens;
    }

    /** One expression, or several with commas between them, which are a tuple. */
    Expression tuple(boolean conditional) {
        int offset = tokens.here();
        Expression first = conditional ? expression() : or();
        if (!tokens.peek().is(Token.Kind.OPERATOR, ",")) {
            return first;
        }
        List<Expression> items = new ArrayList<>();
        items.add(first);
        while (tokens.skipOperator(",") && !endsTuple()) {
            items.add(conditional ? expression() : or());
        }
        return new Expressions.Items(offset, items, true);
    }

    private boolean endsTuple() {
        Token.Kind kind = tokens.peek().kind;
        return kind == Token.Kind.BLOCK_END || kind == Token.Kind.OUTPUT_END
                || tokens.peek().is(Token.Kind.OPERATOR, ")");
    }

    /** One expression. */
    Expression expression() {
        if (++depth > Budget.MOST_DEPTH) {
            throw new TemplateError("nests too many expressions", tokens.here());
        }
        Expression value = or();
        while (tokens.peek().is(Token.Kind.NAME, "if")) {
            int offset = tokens.next().offset;
            Expression condition = or();
            Expression otherwise = tokens.skipName("else") ? expression() : null;
            value = new Expressions.Conditional(offset, condition, value, otherwise);
        }
        depth--;
        return value;
    }

    private Expression or() {
        Expression left = and();
        while (tokens.peek().is(Token.Kind.NAME, "or")) {
            int offset = tokens.next().offset;
            left = new Expressions.Both(offset, false, left, and());
        }
        return left;
    }

    private Expression and() {
        Expression left = not();
        while (tokens.peek().is(Token.Kind.NAME, "and")) {
            int offset = tokens.next().offset;
            left = new Expressions.Both(offset, true, left, not());
        }
        return left;
    }

    private Expression not() {
        int count = 0;
        int offset = tokens.here();
        while (tokens.skipName("not")) {
            count++;
        }
        Expression value = comparison();
        if (count > 0) {
            value = new Expressions.Unary(offset, "not", value);
        }
        return count > 0 && count % 2 == 0 ? new Expressions.Unary(offset, "not", value) : value;
    }

    private Expression comparison() {
        int offset = tokens.here();
        Expression first = sum();
        List<String> operators = new ArrayList<>();
        List<Expression> others = new ArrayList<>();
        for (String operator = comparing(); operator != null; operator = comparing()) {
            operators.add(operator);
            others.add(sum());
        }
        return others.isEmpty() ? first : new Expressions.Compared(offset, first, operators, others);
    }

    /** Past an operator that compares, or null. */
    private String comparing() {
        Token token = tokens.peek();
        if (token.kind == Token.Kind.OPERATOR && Parser.isOperatorTest(token.text)) {
            return tokens.next().text;
        }
        if (tokens.skipName("in")) {
            return "in";
        }
        if (token.is(Token.Kind.NAME, "not") && tokens.peekSecond().is(Token.Kind.NAME, "in")) {
            tokens.next();
            tokens.next();
            return "not in";
        }
        return null;
    }

    private Expression sum() {
        Expression left = joined();
        while (isOperator("+", "-")) {
            Token operator = tokens.next();
            left = new Expressions.Binary(operator.offset, operator.text, left, joined());
        }
        return left;
    }

    private Expression joined() {
        int offset = tokens.here();
        Expression first = product();
        if (!isOperator("~")) {
            return first;
        }
        List<Expression> parts = new ArrayList<>();
        parts.add(first);
        while (tokens.skipOperator("~")) {
            parts.add(product());
        }
        return new Expressions.Joined(offset, parts);
    }

    private Expression product() {
        Expression left = power();
        while (isOperator("*", "/", "//", "%")) {
            Token operator = tokens.next();
            left = new Expressions.Binary(operator.offset, operator.text, left, power());
        }
        return left;
    }

    private Expression power() {
        Expression left = unary(true);
        while (isOperator("**")) {
            Token operator = tokens.next();
            if (left instanceof Expressions.Unary) { // Jinja loses the parentheses around it
                throw TemplateError.unsupported("** of a negated value", operator.offset);
            }
            left = new Expressions.Binary(operator.offset, operator.text, left, unary(true));
        }
        return left;
    }

    private boolean isOperator(String... operators) {
        Token token = tokens.peek();
        return token.kind == Token.Kind.OPERATOR && Arrays.asList(operators).contains(token.text);
    }

    private Expression unary(boolean filters) {
        if (++depth > Budget.MOST_DEPTH) {
            throw new TemplateError("nests too many expressions", tokens.here());
        }
        Expression value;
        if (isOperator("-", "+")) {
            Token sign = tokens.next();
            value = new Expressions.Unary(sign.offset, sign.text, unary(false));
        } else {
            value = primary();
        }
        value = postfix(value);
        value = filters ? filtered(value) : value;
        depth--;
        return value;
    }

    private Expression primary() {
        Token token = tokens.next();
        switch (token.kind) {
            case NAME:
                return name(token);
            case STRING:
                StringBuilder text = new StringBuilder(token.text);
                while (tokens.peek().kind == Token.Kind.STRING) {
                    text.append(tokens.next().text);
                }
                return new Expressions.Constant(token.offset, text.toString());
            case NUMBER:
                return new Expressions.Constant(token.offset, number(token));
            default:
                if (token.is(Token.Kind.OPERATOR, "(")) {
                    return parenthesis(token.offset);
                }
                if (token.is(Token.Kind.OPERATOR, "[")) {
                    return new Expressions.Items(token.offset, items("]"), false);
                }
                if (token.is(Token.Kind.OPERATOR, "{")) {
                    return dict(token.offset);
                }
                throw new TemplateError(
                        "has " + token.describe() + " where it is not expected", token.offset);
        }
    }

    private static Expression name(Token token) {
        switch (token.text) {
            case "true":
            case "True":
                return new Expressions.Constant(token.offset, true);
            case "false":
            case "False":
                return new Expressions.Constant(token.offset, false);
            case "none":
            case "None":
                return new Expressions.Constant(token.offset, null);
            default:
                return new Expressions.Name(token.offset, token.text);
        }
    }

    private static Object number(Token token) {
        if (token.text.indexOf('.') >= 0) {
            return Double.valueOf(token.text);
        }
        if (token.text.length() > 18) {
            throw TemplateError.unsupported("a number beyond 64 bits", token.offset);
        }
        return Long.valueOf(token.text);
    }

    private Expression parenthesis(int offset) {
        if (tokens.skipOperator(")")) {
            return new Expressions.Items(offset, new ArrayList<>(), true);
        }
        Expression value = tuple(true);
        tokens.expectOperator(")");
        return value;
    }

    private List<Expression> items(String end) {
        List<Expression> items = new ArrayList<>();
        while (!tokens.skipOperator(end)) {
            if (!items.isEmpty()) {
                tokens.expectOperator(",");
                if (tokens.skipOperator(end)) {
                    break;
                }
            }
            items.add(expression());
        }
        return items;
    }

    private Expression dict(int offset) {
        List<Expression> keys = new ArrayList<>();
        List<Expression> values = new ArrayList<>();
        while (!tokens.skipOperator("}")) {
            if (!keys.isEmpty()) {
                tokens.expectOperator(",");
                if (tokens.skipOperator("}")) {
                    break;
                }
            }
            keys.add(expression());
            tokens.expectOperator(":");
            values.add(expression());
        }
        return new Expressions.Dict(offset, keys, values);
    }

    private Expression postfix(Expression start) {
        Expression value = start;
        while (isOperator(".", "[", "(")) {
            Token operator = tokens.next();
            if (operator.text.equals(".")) {
                value = attribute(value, operator.offset);
            } else if (operator.text.equals("[")) {
                value = element(value, operator.offset);
            } else {
                value = call(value, operator.offset);
            }
        }
        return value;
    }

    private Expression attribute(Expression object, int offset) {
        Token name = tokens.next();
        if (name.kind == Token.Kind.NUMBER) {
            Expression index = new Expressions.Constant(name.offset, number(name));
            return new Expressions.Element(offset, object, index);
        }
        if (name.kind != Token.Kind.NAME) {
            throw new TemplateError("has no name after a dot", name.offset);
        }
        refusePrivate(name);
        return new Expressions.Attribute(name.offset, object, name.text);
    }

    /** Python's internals are no business of a template. */
    static void refusePrivate(Token name) {
        if (name.text.startsWith("_")) {
            throw TemplateError.unsupported("the attribute " + name.text, name.offset);
        }
    }

    private Expression element(Expression object, int offset) {
        Expression[] bounds = new Expression[3];
        int colons = 0;
        while (!tokens.skipOperator("]")) {
            if (tokens.skipOperator(":") && colons < 2) {
                colons++;
            } else if (bounds[colons] == null) {
                bounds[colons] = expression();
            } else {
                throw tokens.unexpected();
            }
        }
        if (colons > 0) {
            return new Expressions.Slice(offset, object, bounds);
        }
        if (bounds[0] == null) {
            throw new TemplateError("has empty brackets", offset);
        }
        return new Expressions.Element(offset, object, bounds[0]);
    }

    private Expression call(Expression callee, int offset) {
        if (callee instanceof Expressions.Attribute) {
            String method = ((Expressions.Attribute) callee).name;
            if (!Methods.isKnown(method)) {
                throw TemplateError.unsupported("the method " + method, callee.offset);
            }
        }
        return new Expressions.Call(offset, callee, arguments());
    }

    /** Arguments after the opening parenthesis, and past the closing one. */
    private Expressions.ArgumentList arguments() {
        Expressions.ArgumentList list = new Expressions.ArgumentList();
        boolean first = true;
        while (!tokens.skipOperator(")")) {
            if (!first) {
                tokens.expectOperator(",");
                if (tokens.skipOperator(")")) {
                    break;
                }
            }
            first = false;
            if (isOperator("*", "**")) {
                throw TemplateError.unsupported("arguments of unknown number", tokens.here());
            }
            Token name = tokens.peek();
            if (name.kind == Token.Kind.NAME && tokens.peekSecond().is(Token.Kind.OPERATOR, "=")) {
                tokens.next();
                tokens.next();
                list.named.put(name.text, expression());
            } else if (list.named.isEmpty()) {
                list.values.add(expression());
            } else {
                throw tokens.unexpected();
            }
        }
        return list;
    }

    private Expression filtered(Expression start) {
        Expression value = start;
        while (true) {
            if (tokens.skipOperator("|")) {
                value = filter(value);
            } else if (tokens.skipName("is")) {
                value = test(value);
            } else if (isOperator("(")) {
                value = call(value, tokens.next().offset);
            } else {
                return value;
            }
        }
    }

    private Expression filter(Expression object) {
        Token name = tokens.expect(Token.Kind.NAME);
        if (!Filters.isKnown(name.text)) {
            throw TemplateError.unsupported("the filter " + name.text, name.offset);
        }
        boolean called = tokens.skipOperator("(");
        Expressions.ArgumentList given = called ? arguments() : new Expressions.ArgumentList();
        return new Expressions.Filtered(name.offset, object, name.text, given);
    }

    private Expression test(Expression object) {
        boolean negated = tokens.skipName("not");
        Token name = tokens.expect(Token.Kind.NAME);
        if (!Tests.isKnown(name.text)) {
            throw TemplateError.unsupported("the test " + name.text, name.offset);
        }
        Expressions.ArgumentList given = new Expressions.ArgumentList();
        if (tokens.skipOperator("(")) {
            given = arguments();
        } else if (beginsArgument()) {
            given.values.add(postfix(primary()));
        }
        Expression value = new Expressions.Tested(name.offset, object, name.text, given);
        return negated ? new Expressions.Unary(name.offset, "not", value) : value;
    }

    /** Whether what follows a test is its argument without parentheses. */
    private boolean beginsArgument() {
        Token token = tokens.peek();
        switch (token.kind) {
            case NAME:
                return !Arrays.asList("else", "or", "and", "is").contains(token.text);
            case STRING:
            case NUMBER:
                return true;
            default:
                return isOperator("[", "{");
        }
    }
}
