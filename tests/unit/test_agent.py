"""The agent in this process: verbs, golden cases, text streams and refusals."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from handmade_bundle import BOS, EOS, reference_greedy, write_bundle, write_manifest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from runtime_py.__main__ import main
from runtime_py.bundle import open_bundle
from runtime_py.chat import Conversation, TextStream
from runtime_py.check import check, run_case
from runtime_py.engines.fake import FakeEngine, Row
from runtime_py.errors import BadRequestError, BrokenBundleError, ParedownError
from runtime_py.schema import (
    CheckReport,
    GoldenCase,
    LaunchRecord,
    Protocol,
    TokenLogit,
    dumps,
    loads,
)

SMALL = dumps(Protocol(prompt_tokens=4, generated_tokens=3, repetitions=1, launches=1, warmup=0))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("agent") / "bundle"
    write_bundle(path)
    return path


Agent = Callable[..., tuple[int, str, str]]


@pytest.fixture
def agent(capsys: pytest.CaptureFixture[str]) -> Agent:
    def run(*arguments: object) -> tuple[int, str, str]:
        status = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def test_measure(agent: Agent, bundle: Path) -> None:
    status, out, err = agent("measure", bundle, "--protocol", SMALL)
    record = loads(LaunchRecord, out)
    assert (status, err) == (0, "")
    assert len(record.samples) == 1
    assert len(record.samples[0].token_ns) == 3


def test_measure_with_a_protocol_file_and_threads(
    agent: Agent, bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "p.json").write_text(SMALL)
    status, out, _ = agent("measure", bundle, "--protocol", tmp_path / "p.json", "--threads", 2)
    assert status == 0
    assert loads(LaunchRecord, out)


def test_check(agent: Agent, bundle: Path) -> None:
    status, out, err = agent("check", bundle)
    report = loads(CheckReport, out)
    assert (status, err) == (0, "")
    assert report.passed
    assert [c.matching_tokens for c in report.cases] == [8, 8]
    assert all(c.max_abs_logit_difference < 1e-4 and not c.near_tie for c in report.cases)


def test_a_failed_check_holds(agent: Agent, tmp_path: Path) -> None:
    manifest = write_bundle(tmp_path / "b")
    case = manifest.golden_cases[0]
    wrong = dataclasses.replace(case, continuation_ids=[*case.continuation_ids[:-1], 3])
    write_manifest(tmp_path / "b", golden_cases=[wrong, case])
    status, out, _ = agent("check", tmp_path / "b")
    report = loads(CheckReport, out)
    assert status == 1
    assert not report.passed
    assert [(c.passed, c.matching_tokens) for c in report.cases] == [(False, 7), (True, 8)]


def test_a_bundle_without_golden_cases_does_not_pass(tmp_path: Path) -> None:
    manifest = write_bundle(tmp_path / "b", golden_cases=[])
    assert not check(FakeEngine(), manifest).passed


def test_info(agent: Agent, bundle: Path) -> None:
    status, out, _ = agent("info", bundle)
    facts = json.loads(out)
    assert status == 0
    assert facts["manifest"]["name"] == "tiny"
    assert facts["device"]["cpu_count"]["value"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "VERB"),
        (("measur", "x"), "measur"),
        (("measure",), "BUNDLE"),
        (("measure", "BUNDLE", "--protocol", "{"), "not JSON"),
        (("measure", "BUNDLE", "--protocol", "{}"), "schema None"),
        (("measure", "BUNDLE", "--protocol", "/no/such/file"), "/no/such/file"),
        (("measure", "BUNDLE"), "exceed the context of 48"),
        (("measure", "BUNDLE", "--threads", "x"), "'x'"),
        (("measure", "BUNDLE", "--protocol", SMALL, "--threads", "0"), "threads is 0"),
        (("check", "BUNDLE", "--threads", "0"), "threads is 0"),
        (("check", "/no/such/bundle"), "no such bundle: /no/such/bundle"),
        (("chat", "BUNDLE", "--prompt", "Hi", "-n", "0"), "-n is 0"),
        (("chat", "BUNDLE", "--prompt", "Hi " * 40), "121 tokens"),
    ],
)
def test_bad_requests_are_one_line(
    agent: Agent, bundle: Path, arguments: tuple[str, ...], words: str
) -> None:
    status, out, err = agent(*(bundle if a == "BUNDLE" else a for a in arguments))
    assert status == 2
    assert out == ""
    assert err.startswith("paredown-agent: ")
    assert err.count("\n") == 1
    assert words in err


def _greedy_text(bundle: Path, text: str, count: int) -> str:
    tokenizer = Tokenizer.from_file(str(bundle / "tokenizer.json"))
    ids = [BOS, *tokenizer.encode(text).ids]
    new = reference_greedy(ids, count)
    new = new[: new.index(EOS)] if EOS in new else new
    return str(tokenizer.decode(new))


def test_chat_one_shot(agent: Agent, bundle: Path) -> None:
    status, out, _ = agent("chat", bundle, "--prompt", "Hello", "-n", 20)
    assert status == 0
    assert out == _greedy_text(bundle, "Hello", 20) + "\n"


def test_chat_reads_lines_and_each_is_a_plain_completion(
    agent: Agent, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("Hello\n\nÄ café\n"))
    status, out, _ = agent("chat", bundle, "-n", 9)
    assert status == 0
    expected = [_greedy_text(bundle, text, 9) for text in ("Hello", "Ä café")]
    assert out == "".join(f"{text}\n" for text in expected)


def test_chat_never_asks_for_more_than_the_context(agent: Agent, bundle: Path) -> None:
    status, out, _ = agent("chat", bundle, "--prompt", "Hello", "-n", 10_000)
    assert status == 0
    assert out == _greedy_text(bundle, "Hello", 48 - 6) + "\n"


def test_an_internal_error_is_one_line_too(
    agent: Agent, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("a bug\nof ours")

    monkeypatch.setattr("runtime_py.agent.open_bundle", broken)
    status, out, err = agent("info", bundle)
    assert (status, out) == (70, "")
    assert err.startswith("paredown-agent: internal error: ZeroDivisionError: a bug of ours")
    assert err.count("\n") == 1


# Golden cases at their edges, on logits that are known exactly.


class _Scripted(FakeEngine):
    """Row p of `rows` after the token at position p."""

    def __init__(self, rows: list[list[float]]) -> None:
        super().__init__(vocab_size=len(rows[0]), context_length=len(rows))
        self._rows = rows

    def _row(self, token_id: int, position: int) -> Row:
        del token_id
        return Row(self._rows[position])


def _case(continuation: list[int], tops: list[TokenLogit], tolerance: float = 0.1) -> GoldenCase:
    return GoldenCase("c", [0], continuation, tops, 1.0, tolerance)


def test_near_ties_pass_and_clear_differences_do_not() -> None:
    rows = [[0.0, 5.0, 1.0], [4.0, 3.95, 0.0], [0.0, 0.0, 9.0]]
    tops = [TokenLogit(1, 5.05), TokenLogit(2, 0.95)]
    near = run_case(_Scripted(rows), _case([1, 1, 2], tops))
    assert near.passed
    assert near.near_tie
    assert near.matching_tokens == 1
    assert near.max_abs_logit_difference == pytest.approx(0.05)
    clear = run_case(_Scripted(rows), _case([1, 2, 2], tops))
    assert not clear.passed
    assert not clear.near_tie
    strict = run_case(_Scripted(rows), _case([1, 1, 2], tops, tolerance=0.049))
    assert not strict.passed


def test_a_logit_beyond_its_tolerance_fails_though_every_token_agrees() -> None:
    rows = [[0.0, 5.0], [9.0, 0.0]]
    result = run_case(_Scripted(rows), _case([1, 0], [TokenLogit(1, 5.2)]))
    assert result.matching_tokens == 2
    assert not result.passed


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_not_finite_logits_are_an_error(value: float) -> None:
    with pytest.raises(ParedownError, match="'c': fake computed NaN or infinity"):
        run_case(_Scripted([[value, 0.0]]), _case([0], [TokenLogit(0, 1.0)]))


# Text streams.


def _byte_tokenizer(bundle: Path) -> Tokenizer:
    return Tokenizer.from_file(str(bundle / "tokenizer.json"))


@given(prompt=st.text(max_size=6), text=st.text(max_size=20))
def test_streamed_text_is_the_decoded_text(bundle: Path, prompt: str, text: str) -> None:
    tokenizer = _byte_tokenizer(bundle)
    ids = tokenizer.encode(text).ids
    stream = TextStream(tokenizer.decode, tokenizer.encode(prompt).ids)
    pieces = [stream.push(token) for token in ids] + [stream.flush()]
    assert "".join(pieces) == tokenizer.decode(ids)
    assert not any(p.endswith("\ufffd") for p in pieces[:-1])


def test_a_character_appears_when_its_last_byte_does(bundle: Path) -> None:
    tokenizer = _byte_tokenizer(bundle)
    stream = TextStream(tokenizer.decode)
    pieces = [stream.push(token) for token in tokenizer.encode("aé€🎉b").ids]
    assert pieces == ["a", "", "é", "", "", "€", "", "", "", "🎉", "b"]
    assert stream.flush() == ""


def test_half_a_character_at_the_end_is_flushed_once(bundle: Path) -> None:
    tokenizer = _byte_tokenizer(bundle)
    stream = TextStream(tokenizer.decode)
    assert [stream.push(token) for token in tokenizer.encode("é").ids[:1]] == [""]
    assert stream.flush() == "\ufffd"
    assert stream.flush() == ""


# Chat templates.

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


def _conversation(folder: Path, template: str | None, as_file: bool = True) -> Conversation:
    write_bundle(folder)
    if template is not None and as_file:
        (folder / "chat_template.jinja").write_text(template)
    elif template is not None:
        path = folder / "tokenizer_config.json"
        config = json.loads(path.read_text())
        path.write_text(json.dumps({**config, "chat_template": template}))
    write_manifest(folder)
    engine = FakeEngine(vocab_size=258, context_length=200)
    return Conversation(folder, open_bundle(folder), engine)


@pytest.mark.parametrize("as_file", [True, False])
def test_the_template_sees_the_turns(tmp_path: Path, as_file: bool) -> None:
    conversation = _conversation(tmp_path / "b", TEMPLATE, as_file)
    prompts: list[list[int]] = []
    engine = conversation._engine
    original = engine.prefill
    engine.prefill = lambda ids: prompts.append(list(ids)) or original(ids)
    tokenizer = _byte_tokenizer(tmp_path / "b")
    answer = "".join(conversation.reply("Hi", 3))
    list(conversation.reply("So?", 1))
    first = tokenizer.encode("[user]Hi[assistant]").ids
    assert prompts[0] == [BOS, *first], "special tokens of the template are single tokens"
    whole = f"[user]Hi[assistant]{answer}[user]So?[assistant]"
    assert [BOS, *tokenizer.encode(whole).ids] in prompts


def test_templates_have_the_functions_that_transformers_gives_them(tmp_path: Path) -> None:
    conversation = _conversation(
        tmp_path / "b",
        "{{ strftime_now('%Y') | length }}{% for m in messages %}{{ {'a': '<é>'} | tojson }}"
        "{% break %}{% endfor %}",
    )
    assert conversation._render([{"role": "user", "content": "x"}]) == '4{"a": "<é>"}'


def test_a_template_cannot_leave_its_sandbox(tmp_path: Path) -> None:
    conversation = _conversation(
        tmp_path / "b", "{{ ''.__class__.__mro__[1].__subclasses__() }}{{ messages[0].content }}"
    )
    with pytest.raises(BadRequestError, match="refuses this"):
        list(conversation.reply("Hi", 1))


def test_a_template_may_refuse(tmp_path: Path) -> None:
    conversation = _conversation(tmp_path / "b", "{{ raise_exception('roles must alternate') }}")
    with pytest.raises(BadRequestError, match="roles must alternate"):
        list(conversation.reply("Hi", 1))


def test_a_template_that_does_not_parse(tmp_path: Path) -> None:
    with pytest.raises(BrokenBundleError, match="does not parse"):
        _conversation(tmp_path / "b", "{% for %}")


def test_chat_without_a_tokenizer(tmp_path: Path, agent: Agent) -> None:
    write_bundle(tmp_path / "b")
    (tmp_path / "b" / "tokenizer.json").unlink()
    write_manifest(tmp_path / "b")
    status, out, err = agent("chat", tmp_path / "b", "--prompt", "Hi")
    assert (status, out) == (2, "")
    assert "no tokenizer.json" in err


def test_chat_with_a_damaged_tokenizer(tmp_path: Path, agent: Agent) -> None:
    write_bundle(tmp_path / "b")
    (tmp_path / "b" / "tokenizer.json").write_text('{"model": 1}')
    write_manifest(tmp_path / "b")
    status, _, err = agent("chat", tmp_path / "b", "--prompt", "Hi")
    assert status == 2
    assert "is not a tokenizer" in err
