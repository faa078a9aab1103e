"""Golden cases: a bundle checks itself, without a tokenizer and without a network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from runtime_py.engines import Engine, open_engine
from runtime_py.engines.encoder import EncoderEngine, open_encoder
from runtime_py.errors import ParedownError
from runtime_py.schema import CaseResult, CheckReport, GoldenCase, GoldenEmbedding, Manifest


def check_bundle(bundle: Path, manifest: Manifest, threads: int) -> CheckReport:
    """Run every golden case of a bundle that `open_bundle` accepted, on its own engine.

    Raises:
        ParedownError: the engine cannot be opened, or computed NaN or infinity.
    """
    if manifest.kind == "encoder":
        return check_encoder(open_encoder(bundle, manifest, threads), manifest)
    return check(open_engine(bundle, manifest, threads), manifest)


def check(engine: Engine, manifest: Manifest) -> CheckReport:
    """Run every golden case of `manifest` on `engine`.

    Raises:
        ParedownError: the engine computed NaN or infinity.
    """
    cases = [run_case(engine, case) for case in manifest.golden_cases]
    return CheckReport(
        bundle_name=manifest.name,
        engine=engine.name,
        cases=cases,
        passed=bool(cases) and all(case.passed for case in cases),
    )


def check_encoder(engine: EncoderEngine, manifest: Manifest) -> CheckReport:
    """Run every golden embedding of `manifest` on `engine`.

    Raises:
        ParedownError: the engine computed NaN or infinity.
    """
    cases = [_run_embedding(engine, case) for case in manifest.golden_embeddings]
    return CheckReport(
        bundle_name=manifest.name,
        engine=engine.name,
        cases=cases,
        passed=bool(cases) and all(case.passed for case in cases),
    )


def _run_embedding(engine: EncoderEngine, case: GoldenEmbedding) -> CaseResult:
    found = [float(value) for value in engine.embed(case.input_ids)]
    if not all(map(math.isfinite, found)):
        raise ParedownError(f"golden case {case.name!r}: {engine.name} computed NaN or infinity")
    cosine = _cosine(found, case.embedding)
    return CaseResult(
        name=case.name,
        passed=cosine >= case.min_cosine,
        max_abs_logit_difference=0.0,
        matching_tokens=0,
        expected_tokens=0,
        near_tie=False,
        cosine=cosine,
    )


def _cosine(one: Sequence[float], other: Sequence[float]) -> float:
    """-1 where one of the two is zero or they differ in length."""
    lengths = math.sqrt(math.fsum(x * x for x in one) * math.fsum(y * y for y in other))
    if not lengths or len(one) != len(other):
        return -1.0
    return math.fsum(x * y for x, y in zip(one, other, strict=True)) / lengths


def run_case(engine: Engine, case: GoldenCase) -> CaseResult:
    """Compare the top logits after the prompt, then the greedy continuation.

    The case passes when no listed logit differs by more than its tolerance and the continuation
    is the expected one, or leaves it first at a near-tie: where this engine's gap between its own
    token and the expected one is at most the tolerance. What follows a divergence is not compared.

    Raises:
        ParedownError: the engine computed NaN or infinity.
    """
    engine.reset()
    row = engine.prefill(case.prompt_ids)[-1]
    differences = [abs(float(row[top.token_id]) - top.logit) for top in case.top_logits]
    largest = max(differences, default=0.0)
    if not all(map(math.isfinite, differences)):
        raise ParedownError(f"golden case {case.name!r}: {engine.name} computed NaN or infinity")
    matching, near_tie = 0, False
    for expected in case.continuation_ids:
        predicted = int(row.argmax())
        if predicted != expected:
            near_tie = float(row[predicted]) - float(row[expected]) <= case.tolerance
            break
        matching += 1
        if matching < len(case.continuation_ids):
            row = engine.step(expected)
    complete = matching == len(case.continuation_ids)
    return CaseResult(
        name=case.name,
        passed=largest <= case.tolerance and (complete or near_tie),
        max_abs_logit_difference=largest,
        matching_tokens=matching,
        expected_tokens=len(case.continuation_ids),
        near_tie=near_tie,
    )
