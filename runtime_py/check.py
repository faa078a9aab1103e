"""Golden cases: a bundle checks itself, without a tokenizer and without a network."""

from __future__ import annotations

import math

from runtime_py.engines import Engine
from runtime_py.errors import ParedownError
from runtime_py.schema import CaseResult, CheckReport, GoldenCase, Manifest


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
