"""Two published training-free methods that paredown does not have, for comparison only.

`shortgpt` removes whole layers by block influence (Men et al. 2024, arXiv 2403.03853); `slicegpt`
rotates the residual stream onto its principal components and deletes the last ones (Ashkboos et al.
2024, arXiv 2401.15024). Both change a loaded transformers model; neither is saved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from toolchain.model import families
from toolchain.model.block import Block, Rotary
from toolchain.model.checkpoint import Checkpoint
from toolchain.model.compact import PARTS
from toolchain.model.likelihood import padded_batches


@dataclass(frozen=True)
class Baseline:
    """A changed model and what it would have to store."""

    model: nn.Module
    block_parameters: int
    """Attention and MLP weights, and whatever the method adds between them."""
    parameters: int
    detail: str


def layers_to_drop(layers: int, ratio: float) -> int:
    """The number of layers whose share is nearest to `ratio`, fewer if two are; one at least."""
    return min(range(1, layers), key=lambda count: round(abs(count / layers - ratio), 6))


@torch.inference_mode()
def shortgpt(source: Checkpoint, sequences: Sequence[Sequence[int]], ratio: float) -> Baseline:
    """Remove the layers whose output is most like their input, by mean cosine over all tokens."""
    model = source.load()
    layers = families.decoder_layers(model)
    similar = torch.zeros(len(layers), dtype=torch.float64)
    for _, ids, mask in padded_batches(sequences):
        # The last of transformers' hidden states is normed: the last layer's is taken by a hook.
        ends: list[Tensor] = []
        handle = layers[-1].register_forward_hook(lambda *call, ends=ends: ends.append(call[2]))
        states = model(ids, output_hidden_states=True).hidden_states[:-1]
        handle.remove()
        for index, (before, after) in enumerate(zip(states, [*states[1:], *ends], strict=True)):
            similar[index] += torch.cosine_similarity(before, after, dim=-1)[mask].double().sum()
    dropped = similar.argsort(descending=True)[: layers_to_drop(len(layers), ratio)].tolist()
    for index in sorted(dropped, reverse=True):
        del layers[index]
    spec = source.spec
    gone = sum(spec.layer_parameters(spec.layers[index]) for index in dropped)
    norms = 2 * spec.hidden_size * len(dropped)
    return Baseline(
        model,
        spec.block_parameters - (gone - norms),
        spec.parameters - gone,
        f"without layers {', '.join(map(str, sorted(dropped)))}",
    )


def sliced_block_parameters(source: Checkpoint, kept: int) -> int:
    """Attention, MLP and the two [kept, kept] matrices that join their bases on the residual path.

    Projections have one side on the residual stream, so their sizes shrink in proportion.
    """
    spec = source.spec
    return spec.block_parameters * kept // spec.hidden_size + 2 * len(spec.layers) * kept**2


def sliced_width(source: Checkpoint, ratio: float) -> int:
    """The most components of the residual stream within the budget of block parameters.

    Raises:
        ValueError: not even one fits.
    """
    limit = source.spec.block_parameters * (1 - ratio)
    widths = range(source.spec.hidden_size, 0, -1)
    return next(k for k in widths if sliced_block_parameters(source, k) <= limit)


@torch.inference_mode()
def slicegpt(source: Checkpoint, sequences: Sequence[Sequence[int]], ratio: float) -> Baseline:
    """Keep the first principal components of the residual stream before every block.

    The deleted model is run in the dense coordinates: after the embedding and after each block the
    stream is projected onto its kept components, P = Q Qᵀ. That computes what the sliced model
    computes, because a root mean square norm does not see a rotation (SliceGPT keeps dividing by
    the dense width) and its gain is absorbed by the next weights. Each Q comes from the normed
    stream that the layers sliced so far give, not centred.

    Raises:
        ValueError: a model with biases, whose sizes are not counted.
    """
    spec = source.spec
    if spec.query_key_value_bias or spec.output_bias or spec.mlp_bias:
        raise ValueError(f"{source.name} has biases")
    kept = sliced_width(source, ratio)
    model = source.load()
    rotary = Rotary(families.rotary_embedding(model), "cpu")
    blocks = [Block(source.family, part, rotary) for part in PARTS]
    batches = padded_batches(sequences)
    masks = [mask for _, _, mask in batches]
    streams = [families.embedding(model)(ids) for _, ids, _ in batches]
    first = principal(streams, masks, kept)
    families.embedding(model).register_forward_hook(lambda *call: call[2] @ first)
    streams = [stream @ first for stream in streams]
    for layer in families.decoder_layers(model):
        projections = []
        for block in blocks:
            streams = [block.apply(layer, stream) for stream in streams]
            projections.append(principal(streams, masks, kept))
            streams = [stream @ projections[-1] for stream in streams]
        _project_(layer, layer.get_submodule(source.family.attention), *projections)
    tables = 2 * spec.vocab_size * kept  # rotated differently, so no longer tied
    block_parameters = sliced_block_parameters(source, kept)
    return Baseline(
        model,
        block_parameters,
        block_parameters + tables,
        f"{kept} of {spec.hidden_size} components; embedding and head untied",
    )


def principal(streams: Sequence[Tensor], masks: Sequence[Tensor], kept: int) -> Tensor:
    """Projection [d, d] onto the first `kept` principal components of the normed stream."""
    moment = torch.zeros((), dtype=torch.float64)
    for stream, mask in zip(streams, masks, strict=True):
        rows = nn.functional.normalize(stream[mask].double(), dim=-1)
        moment = moment + rows.T @ rows
    basis = torch.linalg.eigh(moment).eigenvectors[:, -kept:]
    return (basis @ basis.T).float()


def _project_(layer: nn.Module, attention: nn.Module, middle: Tensor, end: Tensor) -> None:
    """Make `layer` project the stream after its attention by `middle`, after its MLP by `end`."""
    entered: list[Tensor] = []

    def remember(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        entered[:] = [arguments[0]]

    def after_attention(
        _: nn.Module, __: object, output: tuple[Tensor, ...]
    ) -> tuple[Tensor | None, ...]:
        # The layer adds its input to this: the sum is what must lie in the kept components.
        return (entered[0] + output[0]) @ middle - entered[0], *output[1:]

    layer.register_forward_pre_hook(remember)
    attention.register_forward_hook(after_attention)
    layer.register_forward_hook(lambda *call: call[2] @ end)
