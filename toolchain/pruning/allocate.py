"""How much of every layer stays: uniform widths from a ratio. Torch-free, used by `plan` too."""

from __future__ import annotations

from dataclasses import replace

from runtime_py.schema import LayerShape
from toolchain.errors import BadRequestError
from toolchain.model.families import bias_keys, saved_model_type
from toolchain.model.spec import ModelSpec
from toolchain.recipe import PruneSettings


def pruned_spec(spec: ModelSpec, settings: PruneSettings) -> ModelSpec:
    """The spec after pruning `spec` as `settings` say; every layer gets the same widths.

    Attention loses floor(ratio * groups) whole KV groups; the MLP then loses what brings the
    removed parameters of attention + MLP closest to `ratio`, its width being a multiple of
    `round_to`. With `parts` "mlp" or "attention" the ratio is of that part alone.

    Raises:
        BadRequestError: a layer would be empty, nothing would be removed, the layers already
            differ, or the family cannot hold what the recovery adds.
    """
    shape = spec.layers[0]
    if any(other != shape for other in spec.layers):
        raise BadRequestError(
            f"the layers of {spec.name} have different widths", "prune the dense model instead"
        )
    groups = _kept_groups(shape, settings)
    width = _kept_width(spec, groups, settings)
    if groups < 1 or width < 1:
        raise BadRequestError(
            f"ratio {settings.ratio:g} would leave {'attention' if groups < 1 else 'the MLP'} of "
            f"every layer of {spec.name} empty",
            "use a smaller --ratio or --round-to",
        )
    after = replace(
        shape,
        num_attention_heads=shape.num_attention_heads // shape.num_key_value_heads * groups,
        num_key_value_heads=groups,
        intermediate_size=width,
    )
    if after == shape:
        raise BadRequestError(_nothing_to_remove(spec, settings), _smallest_step(shape, settings))
    out = replace(spec, layers=(after,) * len(spec.layers))
    if settings.recovery == "bias":
        out = _with_biases(out, shape)
    biased = out.output_bias or out.mlp_bias
    heads = after.num_attention_heads
    return replace(out, model_type=saved_model_type(spec.family, spec.hidden_size, heads, biased))


def _with_biases(spec: ModelSpec, before: LayerShape) -> ModelSpec:
    attention = spec.layers[0].num_key_value_heads < before.num_key_value_heads
    mlp = spec.layers[0].intermediate_size < before.intermediate_size
    family = spec.family
    keys = bias_keys(family, output=attention, mlp=mlp)
    return replace(
        spec,
        query_key_value_bias=spec.query_key_value_bias or family.query_key_value_bias in keys,
        output_bias=spec.output_bias or family.output_bias in keys,
        mlp_bias=spec.mlp_bias or family.mlp_bias in keys,
    )


def _kept_groups(shape: LayerShape, settings: PruneSettings) -> int:
    groups = shape.num_key_value_heads
    if settings.parts == "mlp":
        return groups
    # The small term keeps 0.3 * 10 from becoming 2.
    return groups - int(settings.ratio * groups + 1e-9)


def _kept_width(spec: ModelSpec, groups: int, settings: PruneSettings) -> int:
    shape = spec.layers[0]
    width = shape.intermediate_size
    if settings.parts == "attention":
        return width
    budget = settings.ratio * spec.mlp_parameters(shape)
    if settings.parts == "all":
        whole = spec.attention_parameters(shape)
        heads = shape.num_attention_heads // shape.num_key_value_heads * groups
        rest = replace(shape, num_attention_heads=heads, num_key_value_heads=groups)
        budget += settings.ratio * whole - (whole - spec.attention_parameters(rest))
    per_neuron = spec.mlp_parameters(replace(shape, intermediate_size=1)) - spec.mlp_parameters(
        replace(shape, intermediate_size=0)
    )
    return _round(width - budget / per_neuron, width, settings.round_to)


def _round(target: float, width: int, multiple: int) -> int:
    """The multiple nearest to `target`, or `width` itself where that is nearer."""
    nearest = int(target / multiple + 0.5) * multiple
    return width if abs(width - target) <= abs(nearest - target) else min(nearest, width)


def _nothing_to_remove(spec: ModelSpec, settings: PruneSettings) -> str:
    return f"ratio {settings.ratio:g} is too small to remove anything from {spec.name}"


def _smallest_step(shape: LayerShape, settings: PruneSettings) -> str:
    if settings.parts == "attention":
        return f"KV groups are removed whole: use --ratio {1 / shape.num_key_value_heads:.3g}"
    return f"use a larger --ratio, or --round-to below {settings.round_to}"
