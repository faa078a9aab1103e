# Copyright 2026 The paredown authors
# SPDX-License-Identifier: Apache-2.0
"""A pruned model whose layers differ in width, for transformers (4.57 and 5).

paredown wrote this file into the checkpoint; it is the same in all of them. It imports torch and
transformers and nothing else, opens no file and reaches no network. The mathematics is that of the
stock class named after the prefix: `AdaptiveLlamaForCausalLM` is transformers' `LlamaForCausalLM`,
each of whose layers is built by transformers' own code from a config with that layer's widths,
which config.json lists under `paredown`.

    AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
"""

from __future__ import annotations

from functools import cache
from typing import Any

import transformers
from torch import nn
from transformers.pytorch_utils import Conv1D

PREFIX = "Adaptive"
MODEL_TYPE_PREFIX = "paredown_"
ALIASES = {"ffn_dim": "intermediate_size", "n_inner": "intermediate_size"}
"""What OPT and GPT-2 call the width of their MLP."""
HEAD_DIM_DERIVED = ("bert", "opt", "gpt2")
"""Families that know no head_dim, only hidden_size / num_attention_heads."""


class LayerConfig:
    """The model's config as one layer sees it: its own widths, all else looked up in the model's.

    A view and not a copy, so that what is set on the model later (such as the implementation of
    attention) holds for every layer.
    """

    def __init__(self, config: Any, widths: dict[str, int]) -> None:
        self._config = config
        self._widths = widths

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("_config", "_widths"):
            raise AttributeError(name)  # copying and pickling ask before there is anything to see
        widths = self._widths
        name_of_width = ALIASES.get(name, name)
        return widths[name_of_width] if name_of_width in widths else getattr(self._config, name)


class AdaptiveModel(nn.Module):
    """Mixed into a stock model class: gives every layer its own widths."""

    post_init: Any

    def __init__(self, config: Any, *arguments: Any, **options: Any) -> None:
        super().__init__(config, *arguments, **options)
        shapes = config.paredown["layers"]
        layers = next(
            module
            for module in self.modules()
            if isinstance(module, nn.ModuleList) and len(module) == len(shapes)
        )
        for index, widths in enumerate(shapes):
            layers[index] = adaptive_layer(type(layers[index]), config, widths, index)
        self.post_init()  # initialises what is new


def adaptive_layer(
    kind: type[nn.Module], config: Any, widths: dict[str, int], index: int
) -> nn.Module:
    """Layer `index` of the stock class `kind` with its own widths."""
    if config.paredown["base_model_type"] not in HEAD_DIM_DERIVED:
        return kind(LayerConfig(config, widths), index)
    # Built with all heads, since fewer would come out wider.
    rest = {name: width for name, width in widths.items() if "heads" not in name}
    layer = kind(LayerConfig(config, rest), index)
    heads = widths["num_attention_heads"]
    for module in list(layer.modules()):
        if hasattr(module, "head_dim"):
            narrow_attention_(module, heads)
        elif hasattr(getattr(module, "self", None), "attention_head_size"):
            narrow_bert_attention_(module, heads)
    return layer


def narrow_bert_attention_(attention: Any, heads: int) -> None:
    """Leave `heads` heads, of the width that they have, in the attention of BERT."""
    inner, hidden = attention.self, attention.output.dense.out_features
    width = heads * inner.attention_head_size
    for name in ("query", "key", "value"):
        setattr(inner, name, nn.Linear(hidden, width))
    attention.output.dense = nn.Linear(width, hidden)
    inner.num_attention_heads = heads
    inner.all_head_size = width


def narrow_attention_(attention: Any, heads: int) -> None:
    """Leave `heads` heads, of the width that they have, in the attention of OPT or GPT-2."""
    hidden, width = attention.embed_dim, heads * attention.head_dim
    for name, old in list(attention.named_children()):
        if name in ("q_proj", "k_proj", "v_proj"):
            setattr(attention, name, nn.Linear(hidden, width, bias=old.bias is not None))
        elif name == "out_proj":
            attention.out_proj = nn.Linear(width, hidden, bias=old.bias is not None)
        elif name == "c_attn":
            attention.c_attn = Conv1D(3 * width, hidden)
        elif name == "c_proj":
            attention.c_proj = Conv1D(hidden, width)
    attention.num_heads = heads
    attention.split_size = width


@cache
def adaptive_class(name: str) -> type:
    """The adaptive form of the stock model or config class that `name` names after the prefix."""
    stock = getattr(transformers, name.removeprefix(PREFIX))
    made_here = {"__module__": __name__}  # so that save_pretrained finds this file
    if not issubclass(stock, nn.Module):
        model_type = MODEL_TYPE_PREFIX + stock.model_type
        return type(name, (stock,), {**made_here, "model_type": model_type})
    config_class = adaptive_class(PREFIX + stock.config_class.__name__)
    return type(name, (AdaptiveModel, stock), {**made_here, "config_class": config_class})


def __getattr__(name: str) -> type:
    if name.startswith(PREFIX):
        return adaptive_class(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
