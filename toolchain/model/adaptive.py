"""Checkpoints whose layers differ in width: their config.json and the code that reads it.

transformers knows one width per model. An adaptive checkpoint therefore has a model_type of its
own, which no version of transformers takes for a stock model, and carries the modelling file that
`trust_remote_code=True` runs. paredown itself needs no such trust: it reads the base family's
config and each tensor's real shape. Torch-free at import, so that `plan` and `info` can use it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runtime_py.schema import LayerShape
from toolchain.model.families import ADAPTIVE, FAMILIES, auto_class
from toolchain.model.portable import portable

CODE = "modeling_paredown.py"
CLASS_PREFIX = "Adaptive"
MODEL_TYPE_PREFIX = "paredown_"
WIDTHS = ("num_attention_heads", "num_key_value_heads", "intermediate_size")


def remote_files() -> dict[str, str]:
    """Source files to put beside the weights, text by name; the same for every checkpoint."""
    file = Path(__file__).parent / "remote" / CODE
    return {CODE: file.read_text(encoding="utf-8")}


def adaptive_config(config: dict[str, Any], layers: Sequence[LayerShape]) -> dict[str, Any]:
    """The config.json of a checkpoint whose layers have the given widths.

    The base family's own keys keep their values, which no layer exceeds: they satisfy the stock
    config class and bound what a cache may need.

    Args:
        config: the base family's config.json, with as many layers as `layers`.
        layers: shapes in order.
    """
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    family = FAMILIES[config["model_type"]]
    stock = (config.get("architectures") or [family.architecture])[0]
    module = CODE.removesuffix(".py")
    model_class = CLASS_PREFIX + (family.architecture if family.causal else stock)
    out = {
        **config,
        "model_type": MODEL_TYPE_PREFIX + family.model_type,
        "architectures": [model_class],
        "auto_map": {
            "AutoConfig": f"{module}.{CLASS_PREFIX}{CONFIG_MAPPING_NAMES[family.model_type]}",
            auto_class(config): f"{module}.{model_class}",
        },
        ADAPTIVE: {
            "layout": "adaptive",
            "base_model_type": family.model_type,
            "layers": [{name: getattr(layer, name) for name in WIDTHS} for layer in layers],
        },
    }
    if family.head_dim_in_config:
        out["head_dim"] = layers[0].head_dim
    return portable(out)


def base_config(config: dict[str, Any]) -> dict[str, Any]:
    """The base family's config.json of an adaptive one; any other config as it is.

    `layer_shapes` still finds the widths in it.
    """
    model_type = str(config.get("model_type", ""))
    if not model_type.startswith(MODEL_TYPE_PREFIX):
        return config
    out = {key: value for key, value in config.items() if key != "auto_map"}
    out["model_type"] = model_type.removeprefix(MODEL_TYPE_PREFIX)
    classes = config.get("architectures") or []
    out["architectures"] = [str(name).removeprefix(CLASS_PREFIX) for name in classes]
    return out


def layer_shapes(config: dict[str, Any], uniform: LayerShape, count: int) -> tuple[LayerShape, ...]:
    """The shape of each of `count` layers, which is `uniform` unless the config is adaptive.

    Raises:
        ValueError: the config's layers contradict the rest of it; the message says how.
    """
    if ADAPTIVE not in config:
        return (uniform,) * count
    listed = config[ADAPTIVE]["layers"]
    if len(listed) != count:
        raise ValueError(f"{ADAPTIVE} lists {len(listed)} layers of {count}")
    return tuple(
        LayerShape(head_dim=uniform.head_dim, **{name: int(layer[name]) for name in WIDTHS})
        for layer in listed
    )
