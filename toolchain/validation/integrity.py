"""G0: is the bundle whole, and does it speak the dense reference's language?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from runtime_py.schema import LayerShape, Manifest, ModelIdentity, from_json, sha256_of_json
from toolchain.errors import BadRequestError
from toolchain.model.checkpoint import Checkpoint
from toolchain.store import sha256_file
from toolchain.validation.parity import same_model
from toolchain.validation.verdict import FAIL, PASS, Finding, GateResult

TITLE = "integrity"
RULE = (
    "every file has the manifest's hash; tokenizer, chat template, special ids, vocabulary and "
    "golden encodings equal the dense reference's and an end-of-text id is there; the manifest "
    "names that reference, and every step from its weights to these bytes names the one before"
)

GOLDEN_TURNS: tuple[list[dict[str, str]], ...] = (
    [{"role": "user", "content": "Tell me a story."}],
    [
        {"role": "user", "content": " leading and trailing  "},
        {"role": "assistant", "content": "naïve café — 你好 👋🏽\n"},
        {"role": "user", "content": "<|im_start|>system\n</s> [INST] {{ 7 * 7 }}"},
    ],
)
"""Conversations that every chat template takes, with what a template may trip over."""

GOLDEN_TEXTS = (
    "Once upon a time, there was a little girl named Lily.",
    " leading, double  and trailing spaces  ",
    "tabs\tand\nnewlines\r\n\n\nand a last line\n",
    "\u00a0no-break\u2009thin\u3000ideographic\u200bzero width\ufeff",
    "0 1 12 123 1234 12345 3.14159 1,000,000 -7e-10 0x1F ٣ ¾ ²",
    "naïve café — “quotes” … ß ǅ Ω й ½",
    "e\u0301 is not é until it is normalised; ﬁ is a ligature, Å is Å",
    "你好世界。 こんにちは 안녕하세요 שלום مرحبا नमस्ते",
    "👋🏽 👩‍👩‍👧‍👦 🇨🇭 and a lone \U0001f9ea",
    "<s> </s> <|endoftext|> <|im_start|>user <unk> <pad> [INST] <0x0A>",
    "def f(x):\n    return {'a': [1, 2], \"b\": x ** 2}  # Kommentar\n",
    "don't I'LL we've  it`s\\n \\u0041 %s %% {} $PATH",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!!!!!!!!!!????",
    "\x00\x01\x7f control characters",
    "",
)
"""Strings on which tokenizers that look alike come apart."""


def integrity_gate(bundle: Path, manifest: Manifest, reference: Checkpoint) -> GateResult:
    """Compare an opened bundle with the dense reference.

    Args:
        bundle: directory of the bundle.
        manifest: as `open_bundle` returned it, which has verified every file's hash.
        reference: the dense model.

    Raises:
        BadRequestError: the reference has no tokenizer to compare with.
    """
    tokenizer = reference.tokenizer()
    findings = [
        Finding("hashes", True, f"all {len(manifest.files)} files have the manifest's hashes"),
        _identity(manifest.provenance.dense, reference),
        _shapes(manifest, reference),
        _vocabulary(manifest, reference),
        _special_ids(manifest, reference),
        _end_of_text(manifest),
        _chat_template(bundle, reference.path),
        *_tokenizer(bundle, reference.path, tokenizer),
    ]
    return _result(findings)


def _result(findings: list[Finding]) -> GateResult:
    failed = [f for f in findings if not f.passed]
    sentence = (
        failed[0].sentence if failed else f"{len(findings)} checks against the reference hold"
    )
    return GateResult("G0", TITLE, RULE, FAIL if failed else PASS, sentence, findings)


def extended(gate: GateResult, findings: list[Finding]) -> GateResult:
    """G0 with more findings, decided again."""
    return _result([*gate.findings, *findings])


def chain_findings(manifest: Manifest, compact: Checkpoint) -> list[Finding]:
    """The rest of the chain, once the exported checkpoint is at hand.

    Args:
        manifest: of the bundle.
        compact: the checkpoint whose identity the manifest names.
    """
    dense = compact.record.get("dense")
    parent = compact.identity if dense is None else from_json(ModelIdentity, dense)
    findings = [
        Finding(
            "checkpoint's origin",
            same_model(parent, manifest.provenance.dense),
            f"checkpoint's origin: {compact.name} says it descends from {parent.name} (weights "
            f"{parent.weights_sha256[:12]}), the bundle from {manifest.provenance.dense.name} "
            f"(weights {manifest.provenance.dense.weights_sha256[:12]})",
        ),
        _same_shapes("checkpoint's shapes", manifest, list(compact.spec.layers), "the checkpoint"),
    ]
    recorded = sha256_of_json(compact.record) == sha256_of_json(manifest.provenance.pruning)
    word = "is" if recorded else "is not"
    sentence = f"pruning record: the manifest's {word} that of {compact.name}"
    return [*findings, Finding("pruning record", recorded, sentence)]


def _shapes(manifest: Manifest, reference: Checkpoint) -> Finding:
    """The layers are those of the pruning record, or of the reference where nothing was pruned."""
    if not manifest.provenance.pruning:
        return _same_shapes("shapes", manifest, list(reference.spec.layers), "the reference")
    recorded = manifest.provenance.pruning.get("shapes")
    if recorded is None:
        return Finding("shapes", True, "shapes: the pruning record names none")
    saved = recorded.get("saved", recorded["after"])["layers"]
    expected = [from_json(LayerShape, layer) for layer in saved]
    return _same_shapes("shapes", manifest, expected, "the pruning record")


def _same_shapes(name: str, manifest: Manifest, expected: list[LayerShape], of: str) -> Finding:
    if manifest.layers == expected:
        return Finding(name, True, f"{name}: {len(expected)} layers, as {of} has them")
    if len(manifest.layers) != len(expected):
        counts = f"{len(manifest.layers)} layers, {of} has {len(expected)}"
        return Finding(name, False, f"{name}: the bundle has {counts}")
    pairs = zip(manifest.layers, expected, strict=True)
    index = next(i for i, (ours, theirs) in enumerate(pairs) if ours != theirs)
    return Finding(name, False, f"{name}: layer {index} of the bundle is not as {of} has it")


def _end_of_text(manifest: Manifest) -> Finding:
    ids = manifest.eos_token_ids
    wrong = [i for i in ids if not 0 <= i < manifest.vocab_size]
    if manifest.kind == "encoder":
        return Finding("end of text", True, "end of text: an encoder needs none")
    if not ids:
        return Finding("end of text", False, "end of text: no id, so that no text would ever end")
    if wrong:
        return Finding("end of text", False, f"end of text: {wrong} are not in the vocabulary")
    return Finding("end of text", True, f"end of text: {ids}")


def _identity(dense: ModelIdentity, reference: Checkpoint) -> Finding:
    if same_model(dense, reference.identity):
        return Finding("reference", True, f"the bundle descends from {reference.name}")
    return Finding(
        "reference",
        False,
        f"the bundle descends from {dense.name} (weights {dense.weights_sha256[:12]}), not from "
        f"the reference {reference.name} (weights {reference.identity.weights_sha256[:12]})",
    )


def _vocabulary(manifest: Manifest, reference: Checkpoint) -> Finding:
    return _equality("vocabulary", "size", manifest.vocab_size, reference.spec.vocab_size)


def _special_ids(manifest: Manifest, reference: Checkpoint) -> Finding:
    bos, eos = reference.special_ids()
    ours = (manifest.bos_token_id, sorted(manifest.eos_token_ids))
    return _equality("special ids", "(bos, eos)", ours, (bos, sorted(eos)))


def _equality(name: str, what: str, ours: Any, theirs: Any) -> Finding:
    if ours == theirs:
        return Finding(name, True, f"{name}: {what} {ours}, as the reference's")
    return Finding(name, False, f"{name}: {what} is {ours}, the reference's is {theirs}")


def chat_template(folder: Path) -> Any:
    """The chat template a folder carries (a text, or a list of named ones), None where none."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    for name in ("chat_template.json", "tokenizer_config.json"):
        template = _read_json(folder / name).get("chat_template")
        if template is not None:
            return template
    return None


def _chat_template(bundle: Path, reference: Path) -> Finding:
    ours, theirs = chat_template(bundle), chat_template(reference)
    if ours == theirs:
        word = "neither has one" if ours is None else "equal"
        return Finding("chat template", True, f"chat template: {word}")
    return Finding("chat template", False, "chat template: the bundle's is not the reference's")


def _tokenizer(bundle: Path, reference: Path, tokenizer: Any) -> list[Finding]:
    from tokenizers import Tokenizer

    path = bundle / "tokenizer.json"
    if not path.is_file():
        return [Finding("tokenizer", False, "tokenizer: the bundle has no tokenizer.json")]
    own = Tokenizer.from_file(str(path))
    found = [
        _tokenizer_file(path, reference / "tokenizer.json", tokenizer),
        _golden(own, tokenizer),
    ]
    if chat_template(bundle) is not None and tokenizer.chat_template:
        found.append(_golden_turns(bundle, own, tokenizer))
    return found


def _tokenizer_file(ours: Path, theirs: Path, tokenizer: Any) -> Finding:
    expected = (
        _read_json(theirs) if theirs.is_file() else json.loads(tokenizer.backend_tokenizer.to_str())
    )
    found = _read_json(ours)
    if found == expected:
        same = theirs.is_file() and sha256_file(ours) == sha256_file(theirs)
        how = "byte for byte" if same else "in content, not byte for byte"
        return Finding("tokenizer", True, f"tokenizer: tokenizer.json equals the reference's {how}")
    keys = sorted(k for k in found.keys() | expected.keys() if found.get(k) != expected.get(k))
    return Finding(
        "tokenizer",
        False,
        f"tokenizer: tokenizer.json differs from the reference's in {', '.join(keys)}",
    )


def _golden(own: Any, tokenizer: Any) -> Finding:
    """The bundle's file as engines and phones read it, the reference's as transformers does."""
    for text in GOLDEN_TEXTS:
        ours = own.encode(text, add_special_tokens=False).ids
        theirs = tokenizer.encode(text, add_special_tokens=False)
        if ours != theirs:
            return Finding(
                "golden encodings",
                False,
                f"golden encodings: {text[:24]!r} is {ours[:8]}, the reference makes {theirs[:8]}",
            )
        back = own.decode(ours, skip_special_tokens=False)
        expected = tokenizer.backend_tokenizer.decode(theirs, skip_special_tokens=False)
        if back != expected:
            return Finding(
                "golden encodings", False, f"golden encodings: {text[:24]!r} comes back otherwise"
            )
    count = len(GOLDEN_TEXTS)
    sentence = f"golden encodings: {count} texts give the same ids, and come back the same"
    return Finding("golden encodings", True, sentence)


def _golden_turns(bundle: Path, own: Any, tokenizer: Any) -> Finding:
    """Conversations through the bundle's own template and file, and through the reference's."""
    name = "chat turns"
    template = chat_template(bundle)
    for turns in GOLDEN_TURNS:
        options = {"tokenize": False, "add_generation_prompt": True}
        theirs = _rendered(tokenizer, turns, None, options)
        ours = _rendered(tokenizer, turns, template, options)
        ids = own.encode(ours, add_special_tokens=False).ids
        if ours != theirs or ids != tokenizer.encode(theirs, add_special_tokens=False):
            return Finding(
                name, False, f"{name}: {turns[0]['content']!r} is {ours[:48]!r} to the bundle"
            )
    return Finding(name, True, f"{name}: {len(GOLDEN_TURNS)} conversations give the same ids")


def _rendered(
    tokenizer: Any, turns: list[dict[str, str]], template: Any, options: dict[str, bool]
) -> str:
    """A conversation as text; a template that refuses it gives its message, on both sides alike."""
    from jinja2 import TemplateError

    named = template if isinstance(template, str | None) else None  # a list: chosen by its name
    try:
        return str(tokenizer.apply_chat_template(turns, chat_template=named, **options))
    except TemplateError as error:
        return f"refused: {error}"


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BadRequestError(f"{path} is not JSON: {error}") from error
