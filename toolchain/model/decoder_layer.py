"""What is inside of a transformers layer: how to run, resize and read its parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runtime_py.schema import LayerShape
from toolchain.model.family import Family

if TYPE_CHECKING:
    from torch import Tensor, nn


def run_mlp(family: Family, layer: nn.Module, normed: Tensor) -> Tensor:
    """Output [..., hidden_size] of the MLP of `layer`, whose input passed its norm if any."""
    activation = layer.get_submodule(family.activation)
    inner: Tensor = layer.get_submodule(family.up)(normed)
    if family.gate is None:
        inner = activation(inner)
    elif family.gate == family.up:
        gate, up = inner.chunk(2, dim=-1)
        inner = activation(gate) * up
    else:
        inner = activation(layer.get_submodule(family.gate)(normed)) * inner
    output: Tensor = layer.get_submodule(family.down)(inner)
    return output


def spell_out_gelu_(family: Family, layer: nn.Module) -> None:
    """Put the formula of the tanh GELU in the place of torch's operator, where `layer` uses it.

    XNNPACK computes the exact GELU whichever was asked for, which moves logits by 1e-3.
    """
    from transformers.activations import GELUTanh, NewGELUActivation

    if isinstance(layer.get_submodule(family.activation), GELUTanh):
        owner, _, attribute = family.activation.rpartition(".")
        setattr(layer.get_submodule(owner), attribute, NewGELUActivation())


def fill_(module: nn.Module, tensors: dict[str, Tensor], device: str) -> None:
    """Put `tensors` (by dotted name) into `module` as float32 parameters, whatever their widths."""
    import torch
    from torch import nn

    for name, tensor in tensors.items():
        owner_name, _, attribute = name.rpartition(".")
        owner = module.get_submodule(owner_name)
        weight = nn.Parameter(tensor.to(device=device, dtype=torch.float32), requires_grad=False)
        setattr(owner, attribute, weight)
        if attribute == "weight":
            _note_width_(owner, weight)


def _note_width_(module: nn.Module, weight: Tensor) -> None:
    """Tell a projection the widths of its new weight."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = weight.shape
    elif isinstance(module, Conv1D):
        module.nx, module.nf = weight.shape


def fit_attention_(layer: nn.Module, family: Family, shape: LayerShape) -> None:
    """Tell a layer's attention, which reshapes by sizes that it stores, the real ones."""
    attention: Any = layer.get_submodule(family.attention)
    heads, keys = shape.num_attention_heads, shape.num_key_value_heads
    for name, value in (
        ("num_heads", heads),
        ("num_attention_heads", heads),
        ("all_head_size", heads * shape.head_dim),
        ("num_key_value_heads", keys),
        ("num_key_value_groups", heads // keys),
        ("split_size", heads * shape.head_dim),
    ):
        if hasattr(attention, name):
            setattr(attention, name, value)
    if family.key == family.query and not hasattr(attention, "num_heads"):
        attention.config.num_attention_heads = heads  # where it splits the fused projection


def attention_scale(family: Family, layer: nn.Module) -> float:
    """What the products of queries and keys are multiplied by."""
    return float(layer.get_submodule(family.attention).scaling)  # type: ignore[arg-type]


def attention_cap(family: Family, layer: nn.Module) -> float | None:
    """The soft cap of the scaled products; None where there is none.

    Gemma 3 has the attribute too and does not use it.
    """
    if not family.eager_attention:
        return None
    return getattr(layer.get_submodule(family.attention), "attn_logit_softcapping", None)


def rotary_table(family: Family, layer: nn.Module) -> str | None:
    """Which rotary embedding turns the queries and keys of `layer`; None where none does.

    The name is the layer's type where the family has one for each type, else empty.
    """
    attention = layer.get_submodule(family.attention)
    if family.rotary is None or not getattr(attention, "use_rope", True):
        return None
    return rotary_layer_type(family, layer) or ""


def rotary_layer_type(family: Family, layer: nn.Module) -> str | None:
    """Which of a model's rotary embeddings `layer` uses; None where there is only one."""
    if not family.rotary_by_layer_type:
        return None
    return str(layer.get_submodule(family.attention).layer_type)


def projections(family: Family, layer: nn.Module) -> dict[str, Any]:
    """The projections of `layer` by name, each Linear or Conv1D once."""
    names = (*family.attention_inputs, family.output, *family.mlp_inputs, family.down)
    return {name: layer.get_submodule(name) for name in names}


def make_linear_(family: Family, layer: nn.Module) -> None:
    """Put the Linear that computes the same in the place of each Conv1D of `layer`."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    for name, conv in projections(family, layer).items():
        if not isinstance(conv, Conv1D):
            continue
        inputs, outputs = conv.weight.shape
        linear = nn.Linear(inputs, outputs, device="meta")
        linear.weight = nn.Parameter(conv.weight.T.contiguous(), requires_grad=False)
        linear.bias = nn.Parameter(conv.bias, requires_grad=False)
        owner, _, attribute = name.rpartition(".")
        setattr(layer.get_submodule(owner), attribute, linear)
