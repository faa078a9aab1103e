package dev.paredown.core.chat;

import dev.paredown.core.ParedownException;
import java.util.Date;
import java.util.List;
import java.util.Map;

/**
 * A chat template: Jinja as Hugging Face's transformers renders it, or a refusal.
 *
 * <p>Known are {@code set}, {@code if}, {@code for} with its loop variable, {@code break} and {@code
 * continue}, {@code macro}, {@code generation}; all operators; the filters and tests of {@link
 * Filters} and {@link Tests}; the methods of {@link Methods}; {@code namespace}, {@code range},
 * {@code dict}, {@code raise_exception} and {@code strftime_now}.
 */
public final class Template {
    private final String source;
    private final String where;
    private final List<Statement> body;

    private Template(String source, String where, List<Statement> body) {
        this.source = source;
        this.where = where;
        this.body = body;
    }

    /**
     * Read a template.
     *
     * @param where what it is, for errors
     * @throws ParedownException it is none, or uses what is not supported; the message names
     *     construct, line and column
     */
    public static Template parse(String source, String where) {
        String lines = Lexer.normalize(source);
        try {
            return new Template(lines, where, new Parser(new Lexer(lines).read()).read());
        } catch (TemplateError error) {
            throw refusal(error, lines, where);
        }
    }

    /**
     * The text of a conversation.
     *
     * @param variables names to maps, lists, texts, numbers, booleans and null
     * @param now what strftime_now says, or null: then a template that asks whether it is there
     *     takes a date of its own
     * @throws ParedownException the template refuses the conversation, fails, or takes too long
     */
    public String render(Map<String, ?> variables, Date now) {
        Scope globals = Globals.scope(now);
        Scope scope = new Scope(globals);
        for (Map.Entry<String, ?> variable : variables.entrySet()) {
            scope.set(variable.getKey(), variable.getValue());
        }
        Renderer renderer = new Renderer(scope);
        try {
            renderer.run(body);
            return renderer.text();
        } catch (TemplateError error) {
            throw refusal(error, source, where);
        }
    }

    private static ParedownException refusal(TemplateError error, String source, String where) {
        int offset = Math.max(0, Math.min(error.offset(), source.length()));
        int line = 1;
        int column = 1;
        for (int i = 0; i < offset; i++) {
            boolean newline = source.charAt(i) == '\n';
            line += newline ? 1 : 0;
            column = newline ? 1 : column + 1;
        }
        String place = " (line " + line + ", column " + column + ")";
        return ParedownException.badRequest(where + " " + error.getMessage() + place, "");
    }
}
