"""How much work the parts of a run that may be left out are, and whether a default does them.

Torch-free, deterministic: what a run does depends on shapes and settings, never on how fast the
machine happens to be.
"""

from __future__ import annotations

from toolchain.model.sizes import STEP_TOKENS
from toolchain.model.spec import ModelSpec
from toolchain.recipe import PruneSettings

DRAFT_SAMPLES = 64
"""Calibration samples of a draft."""
MOST_DRAFTS = 24
FEWEST_DRAFTS = 3
"""Fewer say nothing."""
MOST_FINALISTS = 4
"""Best choices of a search that are drafted again from all of the text."""
DRAFTS_PER_FINALIST = 5
"""Fewer drafts than that for each would make the finals more work than the search."""
MASK_PASSES = 4
"""Passes of joint mask tuning over the calibration text."""
BATCH_SEQUENCES = 8
"""Sequences in a step of tuning over all layers."""
KEPT_LAYERS_BYTES = 1 << 28
"""Tuning keeps all layers in memory if they fit into this; else it reads them each time."""
AFFORDABLE = {"cpu": 2e14, "mps": 2e15, "cuda": 2e16}
"""Floating-point operations for all drafts, again for joint tuning, and again for judging every
step: some tens of minutes."""
CANDIDATES = 4
"""What a step chooses from: three targets of least squares, and no recovery."""
FEWEST_STEP_TOKENS = 256
"""Fewer held-out tokens would leave the choice of a step to chance."""

_FORWARDS_OF_A_DRAFT = 3
"""Statistics of the dense model, statistics of the pruned one and its way on."""
_STEPS_OF_A_LAYER = 2
_FORWARDS_OF_A_PASS = 5
"""Forward, forward again with a graph, and a backward pass of about twice that; and the guard."""


def draft_operations(spec: ModelSpec, settings: PruneSettings) -> float:
    """Operations of one draft: its forward passes, and scoring and solving every projection."""
    tokens = min(settings.samples, DRAFT_SAMPLES) * settings.seq_len
    forward = 2.0 * spec.block_parameters * tokens
    solving = 0.0
    for shape in spec.layers:
        for width in (shape.intermediate_size, shape.num_attention_heads * shape.head_dim):
            # A factor and its inverse, and right-hand sides; float64 takes about twice as long.
            solving += 2 * (width**3 + 2 * width**2 * spec.hidden_size)
    return _FORWARDS_OF_A_DRAFT * forward + solving


def affordable_drafts(spec: ModelSpec, settings: PruneSettings, device: str) -> int:
    """How many drafts the search may make: those asked for, or those that are affordable."""
    if settings.drafts != "auto":
        return settings.drafts
    count = int(AFFORDABLE[device] // draft_operations(spec, settings))
    return min(count, MOST_DRAFTS) if count >= FEWEST_DRAFTS else 0


def finalists(drafts: int) -> int:
    """How many choices of a search with that many drafts are drafted from all of the text."""
    return min(MOST_FINALISTS, drafts // DRAFTS_PER_FINALIST)


def mask_operations(spec: ModelSpec, settings: PruneSettings) -> float:
    """Operations of joint mask tuning."""
    weights = spec.block_parameters + spec.vocab_size * spec.hidden_size
    forward = 2.0 * weights * settings.samples * settings.seq_len
    return MASK_PASSES * _FORWARDS_OF_A_PASS * forward


def tunes_masks(spec: ModelSpec, settings: PruneSettings, device: str) -> bool:
    """Whether masks are tuned jointly: where asked for, or where it is affordable."""
    if settings.joint_masks is not None:
        return settings.joint_masks
    return mask_operations(spec, settings) <= AFFORDABLE[device]


def step_tokens(spec: ModelSpec, device: str) -> int:
    """The most held-out tokens that single steps are judged on.

    Each candidate of each step goes through all later layers, work that grows with the square of
    their number: models from about a billion parameters on a CPU get fewer tokens.
    """
    layers = len(spec.layers)
    # A step sees half of the layers on average.
    weights = spec.block_parameters * layers / 2 + layers * spec.vocab_size * spec.hidden_size
    operations = _STEPS_OF_A_LAYER * CANDIDATES * 2.0 * weights
    return min(max(int(AFFORDABLE[device] / operations), FEWEST_STEP_TOKENS), STEP_TOKENS)
