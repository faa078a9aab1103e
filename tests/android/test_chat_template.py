"""Chat templates in Java against transformers' Jinja: the same text, or both refuse."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chat_templates import FAMILIES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jvm_text import JvmText, Refused
from transformers.utils.chat_template_utils import _compile_jinja_template

pytest_plugins = ("android_fixtures",)

COMMON: dict[str, Any] = {
    "deadline": None,
    "database": None,
    "derandomize": True,
    "suppress_health_check": [HealthCheck.too_slow],
}
REFERENCE_ERRORS = (Exception,)
"""Templates fail in Python with any class: jinja's own, TypeError, IndexError, KeyError..."""


@pytest.fixture(scope="module")
def jvm(java_classes: Path) -> Iterator[JvmText]:
    with JvmText(java_classes) as process:
        yield process


def reference(template: str, variables: dict[str, Any]) -> str | None:
    """What transformers renders; None where it fails."""
    try:
        text: str = _compile_jinja_template(template).render(**variables)
    except REFERENCE_ERRORS:
        return None
    return text


def ours(jvm: JvmText, template: str, variables: dict[str, Any]) -> str | None:
    """What Java renders; None where it refuses."""
    now_ms = int(time.time() * 1000)
    try:
        text: str = jvm.ask("render", template=template, variables=variables, now_ms=now_ms)["text"]
    except Refused:
        return None
    return text


def test_templates_of_the_families_render_conversations(jvm: JvmText) -> None:
    """A plain conversation renders for every family, so that parity is not that of refusals."""
    messages = [
        {"role": "user", "content": " Why is the sky blue?\n"},
        {"role": "assistant", "content": "<think>\nlight\n</think>\n\nIt scatters."},
        {"role": "user", "content": "{{ messages }} 'really' \u00e9 \U0001f600"},
    ]
    variables = {"messages": messages, "add_generation_prompt": True, **TOKENS}
    for name, template in FAMILIES.items():
        text = ours(jvm, template, variables)
        assert text == reference(template, variables), name
        assert text is not None, name
        assert "\U0001f600" in text, name


TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.sampled_from(
        [
            "",
            " a\n",
            "/no_think x",
            "<think>\nq\n</think>\n\nans",
            "{% if %}",
            "a\r\nb",
            "\x1c\u2003",
        ]
    ),
)
CALLS = st.fixed_dictionaries(
    {
        "function": st.fixed_dictionaries(
            {
                "name": TEXTS,
                "arguments": st.dictionaries(
                    TEXTS,
                    st.recursive(
                        st.none()
                        | st.booleans()
                        | st.integers(-(2**62), 2**62)
                        | st.floats(allow_nan=False, allow_infinity=False)
                        | TEXTS,
                        lambda inner: st.lists(inner, max_size=2),
                    ),
                    max_size=3,
                ),
            }
        )
    }
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(["user", "assistant", "system", "tool"]),
            "content": TEXTS
            | st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": TEXTS}))
            | st.none(),
        },
        optional={"tool_calls": st.lists(CALLS, max_size=2), "reasoning_content": TEXTS},
    ),
    max_size=5,
)
TURNS = st.lists(TEXTS, min_size=1, max_size=5).map(
    lambda texts: [
        {"role": ("user", "assistant")[place % 2], "content": text}
        for place, text in enumerate(texts)
    ]
)


@settings(max_examples=150, **COMMON)
@given(
    name=st.sampled_from(sorted(FAMILIES)),
    messages=MESSAGES | TURNS,
    prompt=st.booleans(),
    more=st.fixed_dictionaries(
        {},
        optional={
            "tools": st.none() | st.lists(CALLS, max_size=2),
            "enable_thinking": st.booleans(),
        },
    ),
)
def test_templates_of_the_families_over_random_conversations(
    jvm: JvmText, name: str, messages: list[Any], prompt: bool, more: dict[str, Any]
) -> None:
    variables = {"messages": messages, "add_generation_prompt": prompt, **TOKENS, **more}
    expected = reference(FAMILIES[name], variables)
    assert ours(jvm, FAMILIES[name], variables) == expected


def test_a_template_that_transformers_ships(jvm: JvmText) -> None:
    module = pytest.importorskip("transformers.models.llama4.processing_llama4")
    template = getattr(module, "chat_template", None)
    if template is None:
        pytest.skip("this transformers ships no template for Llama 4")
    for messages in (
        [{"role": "user", "content": "hi"}],
        [
            {"role": "system", "content": " s "},
            {"role": "user", "content": [{"type": "text", "text": "t"}]},
        ],
    ):
        variables = {"messages": messages, "add_generation_prompt": True, **TOKENS}
        expected = reference(template, variables)
        assert expected is not None
        assert ours(jvm, template, variables) == expected


VARIABLES: dict[str, Any] = {
    "t": " \u00c4b\u00df\U0001f600 ca\tb,\n",
    "e": "",
    "i": 7,
    "n": -3,
    "f": 2.5,
    "yes": True,
    "nil": None,
    "l": [3, "a", None, [1, 2], {"k": "v"}],
    "d": {"a": 1, "b": {"c": [1.0, 1e-7, 1e22]}, "items": 5, "quote": 'it\'s "q" \\ \x07\u200b'},
    "ms": [{"role": "user", "x": 1}, {"role": "tool", "x": 0}, {"role": "user"}],
}


def atoms() -> st.SearchStrategy[str]:
    names = st.sampled_from(
        [*VARIABLES, "missing", "none", "true", "1", "0", "2", "1.5", "'a'", "''"]
    )
    return names | st.sampled_from(
        ["[1,'a']", "(1,)", "()", "(1, 2)", "{'a': t}", "d.b", "l[0]", "ms[0].role"]
    )


BINARY = [
    "+",
    "-",
    "*",
    "//",
    "/",
    "%",
    "~",
    "==",
    "!=",
    "<",
    ">=",
    "in",
    "not in",
    "and",
    "or",
    "**",
]
FILTERS = [
    "trim",
    "upper",
    "lower",
    "capitalize",
    "title",
    "length",
    "join",
    "tojson",
    "list",
    "first",
    "last",
    "string",
    "int",
    "float",
    "safe",
    "items",
    "reverse",
    "default('z')",
    "default('z',true)",
    "join('-')",
    "replace('a','bc')",
    "trim('a')",
    "tojson(indent=2)",
    "map('upper')",
    "map(attribute='x')",
    "selectattr('x')",
    "selectattr('role','equalto','user')",
    "rejectattr('x','defined')",
    "select('string')",
    "reject('none')",
]
TESTS = [
    "defined",
    "undefined",
    "none",
    "string",
    "mapping",
    "sequence",
    "iterable",
    "number",
    "integer",
    "float",
    "boolean",
    "true",
    "false",
    "odd",
    "even",
    "divisibleby(2)",
    "in[7,'a']",
    "equalto('a')",
    "lt(2)",
]
TESTS += [
    "divisibleby 3",
    "eq 7",
    "gt 1",
]
POSTFIX = [
    ".strip()",
    ".split()",
    ".split(',')",
    ".split(none,1)",
    ".rsplit('a',1)",
    ".upper()",
    ".title()",
    ".capitalize()",
    ".startswith('a')",
    ".endswith(('a','b'))",
    ".replace('a','b',1)",
    ".replace('','-')",
    ".lstrip('a')",
    ".rstrip()",
    ".splitlines()",
    ".find('b')",
    ".count('a')",
    ".items()",
    ".keys()",
    ".values()",
    ".get('a')",
    ".get('q',2)",
    ".a",
    ".items",
    ".b.c",
    "['a']",
    "[0]",
    "[-1]",
    "[1:]",
    "[:-1]",
    "[::-1]",
    "[1:9:2]",
    "[-2:]",
    "['b']['c']",
    ".join(['x','y'])",
    ".removeprefix('a')",
    ".index(3)",
]


def grow(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from(BINARY), inner),
        st.builds("{}|{}".format, inner, st.sampled_from(FILTERS)),
        st.builds("({} is {})".format, inner, st.sampled_from(TESTS)),
        st.builds("({} is not {})".format, inner, st.sampled_from(TESTS)),
        st.builds("{}{}".format, inner, st.sampled_from(POSTFIX)),
        st.builds("({} if {} else {})".format, inner, inner, inner),
        st.builds("(not {})".format, inner),
        st.builds("(-{})".format, inner),
    )


PYTHON_ONLY = re.compile(r" at 0x|dict_(items|keys|values)\(|<built-in")
"""What Python says of objects that have no text of their own."""


CONSTANT_SLICE = re.compile(r"\b(none|true|false|\d+)\[")
"""Jinja's compiler works these out, and fails, also where they would never be reached."""


@settings(max_examples=400, **COMMON)
@given(expression=st.recursive(atoms(), grow, max_leaves=5))
def test_random_expressions(jvm: JvmText, expression: str) -> None:
    """Never another text than Jinja's; what Jinja can and this cannot is refused as unsupported."""
    template = "{{ " + expression + " }}"
    expected = reference(template, VARIABLES)
    if expected is not None and PYTHON_ONLY.search(expected):
        expected = None
    try:
        text = jvm.ask("render", template=template, variables=VARIABLES, now_ms=0)["text"]
    except Refused as refusal:
        known = ("not supported", "takes a slice of")  # of a constant, jinja's optimiser lets it be
        assert expected is None or any(word in str(refusal) for word in known), expression
    else:
        folded = expected is None and CONSTANT_SLICE.search(expression)
        assert folded or text == expected, expression


PIECES = [
    *(" ", "\n", "  \n", "x", "\t", "{%if yes%}", "{%- if yes -%}", "{%+ if e +%}", "{% endif %}"),
    *("{%- endif %}", "{% endif -%}", "{#c#}", "{#- c -#}", "{{ i }}", "{{- i -}}", "\r\n"),
    *("{% for x in l %}", "{% endfor %}", "{% else %}", "{% set i = 1 %}", "{% break %}"),
]


@settings(max_examples=400, **COMMON)
@given(pieces=st.lists(st.sampled_from(PIECES), max_size=9))
def test_white_space_around_tags(jvm: JvmText, pieces: list[str]) -> None:
    """Which blanks and line ends go, and which templates do not parse."""
    template = "".join(pieces)
    assert ours(jvm, template, VARIABLES) == reference(template, VARIABLES)


@pytest.mark.parametrize(
    ("template", "named"),
    [
        ("a\n {% include 'x' %}", "{% include %}, which is not supported (line 2, column 5)"),
        ("{{ t | xmlattr }}", "the filter xmlattr, which is not supported (line 1, column 8)"),
        ("{{ t is escaped }}", "the test escaped"),
        ("{{ t.encode() }}", "the method encode"),
        ("{{ l.append(1) }}", "the method append"),
        ("{{ t.__class__ }}", "the attribute __class__"),
        ("{{ '%s' % t }}", "the formatting of texts by %"),
        ("{% for x in l recursive %}{% endfor %}", "a recursive loop"),
        ("{{ 99999999999 * 99999999999 }}", "a number beyond 64 bits"),
        ("{{ strftime_now('%c') }}", "strftime_now with %c"),
        ("{{ raise_exception('no ' ~ i) }}", "the template refuses this: no 7"),
        ("{% if yes %}", "lacks endif"),
    ],
)
def test_what_is_not_supported_is_named_with_its_place(
    jvm: JvmText, template: str, named: str
) -> None:
    with pytest.raises(Refused) as caught:
        jvm.ask("render", template=template, variables=VARIABLES, now_ms=0)
    assert named in str(caught.value)


@pytest.mark.parametrize(
    "template",
    [
        "{% for a in range(9999999) %}{% for b in range(9999999) %}{% endfor %}{% endfor %}",
        "{{ 'x' * 999999999999 }}",
        "{{ [1] * 999999999999 }}",
        "{% set ns = namespace(t='x') %}{% for i in range(99) %}{% set ns.t = ns.t ~ ns.t %}"
        "{% endfor %}",
        "{% set ns = namespace(l=[1]) %}{% for i in range(99) %}{% set ns.l = [ns.l, ns.l] %}"
        "{% endfor %}{{ ns.l }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
        "{{ " + "not " * 5000 + "[" * 5000 + " }}",
        "{% if 1 %}" * 5000,
    ],
)
def test_a_hostile_template_ends_soon(jvm: JvmText, template: str) -> None:
    started = time.monotonic()
    with pytest.raises(Refused):
        jvm.ask("render", template=template, variables={}, now_ms=0)
    assert time.monotonic() - started < 60
