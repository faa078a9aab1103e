package dev.paredown.core.chat;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertThrows;
import static org.junit.Assert.assertTrue;

import dev.paredown.core.ParedownException;
import java.util.Arrays;
import java.util.Collections;
import java.util.Date;
import java.util.LinkedHashMap;
import java.util.Map;
import org.junit.Test;

/** What a template makes of a conversation, and what is refused. */
public final class TemplateTest {
    private static final Date NEW_YEAR = new Date(1_767_268_800_000L); // noon of 1 January 2026, UTC

    private static String render(String source) {
        Map<String, Object> message = new LinkedHashMap<>();
        message.put("role", "user");
        message.put("content", " hi ");
        Map<String, Object> variables = new LinkedHashMap<>();
        variables.put("messages", Arrays.<Object>asList(message, message));
        return Template.parse(source, "the template").render(variables, NEW_YEAR);
    }

    private static String refusal(String source) {
        return assertThrows(ParedownException.class, () -> render(source)).getMessage();
    }

    @Test
    public void rendersAConversation() {
        assertEquals(
                "1:hi;2:hi.",
                render("{% for m in messages %}\n  {{- loop.index ~ ':' ~ m.content | trim }}"
                        + "{{ '.' if loop.last else ';' }}\n{%- endfor %}"));
    }

    @Test
    public void namesInALoopDoNotLeaveIt() {
        assertEquals("1", render("{% set x = 1 %}{% for m in messages %}{% set x = 2 %}{% endfor %}{{ x }}"));
        assertEquals(
                "2",
                render("{% set n = namespace(x=0) %}{% for m in messages %}"
                        + "{% set n.x = n.x + 1 %}{% endfor %}{{ n.x }}"));
    }

    @Test
    public void tellsTheDateOnlyWhereThereIsOne() {
        assertEquals("01 January 2026", render("{{ strftime_now('%d %B %Y') }}"));
        Template asks = Template.parse("{{ strftime_now is defined }}", "the template");
        assertEquals("False", asks.render(Collections.<String, Object>emptyMap(), null));
    }

    @Test
    public void writesNumbersAsPython() {
        assertEquals("0.1 1e-07 1e+22 -3.0 2", render("{{ 0.1 }} {{ 1 / 10000000 }} "
                + "{{ 10.0 ** 22 }} {{ -3.0 }} {{ 17 // 8 }}"));
        assertEquals("5e-324", PyText.floatText(Double.MIN_VALUE));
        assertEquals("1.7976931348623157e+308", PyText.floatText(Double.MAX_VALUE));
        assertEquals("2e-323", PyText.floatText(2e-323));
    }

    @Test
    public void refusesWithThePlace() {
        assertEquals(
                "the template uses {% call %}, which is not supported (line 2, column 4)",
                refusal("x\n{% call f() %}{% endcall %}"));
        assertTrue(refusal("{{ missing.x }}").contains("'missing' is undefined"));
        assertTrue(refusal("{{ raise_exception('turns') }}").contains("refuses this: turns"));
    }

    @Test(timeout = 60_000)
    public void endsWhatWouldRunForEver() {
        String loops = "{% for a in range(9999999) %}{% for b in range(9999999) %}{% endfor %}{% endfor %}";
        assertTrue(refusal(loops).contains("runs too long"));
        assertTrue(refusal("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}").contains("deeper"));
    }
}
