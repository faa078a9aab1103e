"""G0: is the bundle whole, and does it speak the dense reference's language?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from runtime_py.schema import Manifest, ModelIdentity
from toolchain.errors import BadRequestError
from toolchain.model.checkpoint import Checkpoint
from toolchain.validation.parity import same_model
from toolchain.validation.verdict import FAIL, PASS, Finding, GateResult

TITLE = "integrity"
RULE = (
    "every file has the manifest's hash; tokenizer, chat template, special ids, vocabulary and "
    "golden encodings equal the dense reference's; the manifest names that reference"
)

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
        _vocabulary(manifest, reference),
        _special_ids(manifest, reference),
        _chat_template(bundle, reference.path),
        *_tokenizer(bundle, reference.path, tokenizer),
    ]
    failed = [f for f in findings if not f.passed]
    sentence = (
        failed[0].sentence if failed else f"{len(findings)} checks against the reference hold"
    )
    return GateResult("G0", TITLE, RULE, FAIL if failed else PASS, sentence, findings)


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
    return [_tokenizer_file(path, reference / "tokenizer.json", tokenizer), _golden(own, tokenizer)]


def _tokenizer_file(ours: Path, theirs: Path, tokenizer: Any) -> Finding:
    expected = (
        _read_json(theirs) if theirs.is_file() else json.loads(tokenizer.backend_tokenizer.to_str())
    )
    found = _read_json(ours)
    if found == expected:
        return Finding("tokenizer", True, "tokenizer: tokenizer.json equals the reference's")
    keys = sorted(k for k in found.keys() | expected.keys() if found.get(k) != expected.get(k))
    return Finding(
        "tokenizer",
        False,
        f"tokenizer: tokenizer.json differs from the reference's in {', '.join(keys)}",
    )


def _golden(own: Any, tokenizer: Any) -> Finding:
    for text in GOLDEN_TEXTS:
        ours = own.encode(text, add_special_tokens=False).ids
        theirs = tokenizer.encode(text, add_special_tokens=False)
        if ours != theirs:
            return Finding(
                "golden encodings",
                False,
                f"golden encodings: {text[:24]!r} is {ours[:8]}, the reference makes {theirs[:8]}",
            )
    count = len(GOLDEN_TEXTS)
    return Finding("golden encodings", True, f"golden encodings: {count} texts give the same ids")


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BadRequestError(f"{path} is not JSON: {error}") from error
