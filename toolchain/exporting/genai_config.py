"""`genai_config.json`, by which onnxruntime-genai runs a bundle's model. Torch-free."""

from __future__ import annotations

import json
from collections.abc import Sequence

from runtime_py.schema import LayerShape

FILE_NAME = "genai_config.json"


def genai_config(
    shapes: Sequence[LayerShape],
    hidden_size: int,
    vocab_size: int,
    context: int,
    model_file: str,
    bos_token_id: int | None,
    eos_token_ids: Sequence[int],
) -> str | None:
    """The file's text; None where onnxruntime-genai cannot run the model.

    It allocates one shape of keys and values for all layers. MLP widths are nothing to it.
    """
    caches = {(shape.num_key_value_heads, shape.head_dim) for shape in shapes}
    if len(caches) > 1 or not eos_token_ids:
        return None
    model = {
        "type": "decoder",
        "context_length": context,
        "vocab_size": vocab_size,
        **({} if bos_token_id is None else {"bos_token_id": bos_token_id}),
        "eos_token_id": list(eos_token_ids),
        "pad_token_id": eos_token_ids[0],
        "decoder": {
            "filename": model_file,
            "session_options": {"log_id": "onnxruntime-genai", "log_severity_level": 3},
            "hidden_size": hidden_size,
            "head_size": shapes[0].head_dim,
            "num_attention_heads": shapes[0].num_attention_heads,
            "num_key_value_heads": shapes[0].num_key_value_heads,
            "num_hidden_layers": len(shapes),
            "inputs": {
                "input_ids": "input_ids",
                "attention_mask": "attention_mask",
                "past_key_names": "past_key_values.%d.key",
                "past_value_names": "past_key_values.%d.value",
            },
            "outputs": {
                "logits": "logits",
                "present_key_names": "present.%d.key",
                "present_value_names": "present.%d.value",
            },
        },
    }
    search = {"max_length": context, "do_sample": False, "past_present_share_buffer": True}
    return json.dumps({"model": model, "search": search}, indent=2) + "\n"
