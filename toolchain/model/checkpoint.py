"""Open a checkpoint folder or a Hub id, and bring its weights in layer by layer.

Only safetensors are read, never pickle. Nothing in here holds more than what was asked for.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime_py.schema import LayerShape, ModelIdentity, sha256_of_json
from toolchain.embedded import MODEL_DIR
from toolchain.errors import BadRequestError, MissingError, require_extra
from toolchain.model import adaptive, decoder_layer, families
from toolchain.model.spec import ModelSpec, spec_from_config
from toolchain.store import CHECKPOINT_RECORD, sha256_files

if TYPE_CHECKING:
    import torch
    from torch import nn

    from toolchain.model.rows import TableRows

CHECKED_ROWS = 4096
"""Rows of a table that are looked through for NaN and Inf at a time."""

HUB_PATTERNS = [
    "*.safetensors",
    "*.safetensors.index.json",
    "*.json",
    "*.jinja",
    "tokenizer*",
    "*.model",
    "vocab.txt",
]

EMBEDDED = "embedded"
"""The model id of the tiny model that ships with paredown."""

COMPANION_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "1_Pooling/config.json",
)
"""Files that travel with the weights wherever they go, where they exist."""


@dataclass(frozen=True)
class Checkpoint:
    """A local folder with config.json and safetensors.

    `config` is the parsed config.json; `files` the weight files in a fixed order.
    """

    path: Path
    name: str
    config: dict[str, Any]
    files: tuple[Path, ...]

    @property
    def title(self) -> str:
        """What to call this model before people: a pruned one goes by its dense model's name."""
        dense = self.record.get("dense")
        return f"{dense['name']}-pruned" if dense else self.name

    @cached_property
    def family(self) -> families.Family:
        """Architecture knowledge of this checkpoint."""
        return families.family_of(self.config, self.name)

    @cached_property
    def _tensor_files(self) -> dict[str, tuple[Path, str]]:
        """Each tensor's file, and its name in there, by the name that transformers uses today."""
        from safetensors import SafetensorError, safe_open

        where: dict[str, tuple[Path, str]] = {}
        for file in self.files:
            try:
                with safe_open(file, framework="pt") as stream:
                    for stored in stream.keys():  # noqa: SIM118 - not a dictionary
                        name = self.family.full_name(stored)
                        if name is not None:
                            where[name] = (file, stored)
            except SafetensorError as error:
                raise BadRequestError(
                    f"{file} is not a readable safetensors file: {error}", "download it again"
                ) from error
        return where

    @cached_property
    def spec(self) -> ModelSpec:
        """Shapes, with each layer's real widths read from the safetensors headers."""
        uniform = spec_from_config(self.config, self.name)
        layers = tuple(self._layer_shape(i, s) for i, s in enumerate(uniform.layers))
        return replace(uniform, layers=layers)

    def _layer_shape(self, index: int, default: LayerShape) -> LayerShape:
        prefix = self.family.layer_prefix(index)
        return families.layer_shape(
            self.family, lambda name: self.tensor_shape(f"{prefix}{name}"), default.head_dim
        )

    @cached_property
    def record(self) -> dict[str, Any]:
        """What `paredown prune` wrote about this checkpoint; empty for a model it did not make."""
        path = self.path / CHECKPOINT_RECORD
        record = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return dict(record)

    @cached_property
    def identity(self) -> ModelIdentity:
        """Name and hashes; reads every weight file once."""
        return ModelIdentity(
            name=self.name,
            model_type=self.family.model_type,
            weights_sha256=sha256_files(list(self.files)),
            config_sha256=sha256_of_json(self.config),
            parameters=self.spec.parameters,
        )

    def tensor_names(self) -> list[str]:
        """Names of all stored tensors."""
        return sorted(self._tensor_files)

    def tensor_shape(self, name: str) -> list[int]:
        """Shape of a stored tensor, from the file's header alone."""
        from safetensors import safe_open

        file, stored = self._file_of(name)
        with safe_open(file, framework="pt") as stream:
            return list(stream.get_slice(stored).get_shape())

    def tensor(self, name: str) -> torch.Tensor:
        """One tensor as stored.

        Raises:
            BadRequestError: the tensor is absent, or holds NaN or Inf (it is named).
        """
        from safetensors import safe_open

        file, stored = self._file_of(name)
        with safe_open(file, framework="pt") as stream:
            tensor: torch.Tensor = stream.get_tensor(stored)
        if name not in self._finite:
            self._check_finite(name, tensor)
            self._finite.add(name)
        return tensor

    def rows(self, name: str) -> TableRows:
        """The rows of a stored table, for whoever needs few of them at a time.

        Raises:
            BadRequestError: the tensor is absent, or holds NaN or Inf (it is named).
        """
        from toolchain.model.rows import TableRows

        table = TableRows.open(*self._file_of(name))
        if name not in self._finite:
            for start in range(0, table.count, CHECKED_ROWS):
                stop = min(start + CHECKED_ROWS, table.count)
                self._check_finite(name, table.read(start, stop))
            self._finite.add(name)
        return table

    @cached_property
    def _finite(self) -> set[str]:
        """Tensors that were found to hold neither NaN nor Inf: each is checked once."""
        return set()

    def _check_finite(self, name: str, values: torch.Tensor) -> None:
        # NaN and Inf both show in the extremes, which need no copy of the values.
        if not all(bool(extreme.isfinite()) for extreme in values.aminmax()):
            raise BadRequestError(
                f"tensor {name} of {self.name} holds NaN or Inf",
                "the checkpoint is damaged; download it again",
            )

    def _file_of(self, name: str) -> tuple[Path, str]:
        try:
            return self._tensor_files[name]
        except KeyError:
            raise BadRequestError(f"{self.name} has no tensor {name}") from None

    def saved_name(self, name: str) -> str:
        """What a pruned model's tensor is to be called in its file, by its name here.

        An encoder has the prefix of its base in the file if this one's has: its class says which.
        """
        base = f"{self.family.base}."
        if self.family.causal or not self._is_modelled(name):
            return name
        prefixed = any(stored.startswith(base) for _, stored in self._tensor_files.values())
        return f"{base}{name}" if prefixed else name

    def layer_tensors(self, index: int) -> dict[str, torch.Tensor]:
        """All tensors of layer `index`, by name relative to the layer."""
        prefix = self.family.layer_prefix(index)
        names = [n for n in self._tensor_files if n.startswith(prefix)]
        return {n.removeprefix(prefix): self.tensor(n) for n in sorted(names)}

    def outer_tensors(self) -> dict[str, torch.Tensor]:
        """Embedding, learned positions, final norm and (untied) head, by full name.

        Of an encoder all that is outside of the layers, its pooler or head included.
        """
        return {name: self.tensor(name) for name in self._outer_names()}

    def _outer_names(self) -> list[str]:
        if self.family.causal:
            return self.family.outer_tensors(tied=self.spec.tie_word_embeddings)
        prefix = f"{self.family.layers}."
        return [name for name in self.tensor_names() if not name.startswith(prefix)]

    @cached_property
    def skeleton(self) -> nn.Module:
        """The transformers model of this config on the meta device: structure without memory."""
        import torch
        from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

        config = AutoConfig.for_model(**self.config)
        config._attn_implementation = "eager" if self.family.eager_attention else "sdpa"
        kind = AutoModelForCausalLM if self.family.causal else AutoModel
        with torch.device("meta"):
            model: nn.Module = kind.from_config(config, dtype=torch.float32)
        families.restore_constants_(model)
        if not self.family.causal:
            self._drop_absent_(model)
        return model.eval().requires_grad_(False)

    def _drop_absent_(self, encoder: nn.Module) -> None:
        """Do without what transformers puts onto an encoder and the files lack: its pooler."""
        stored = {name.partition(".")[0] for name in self.tensor_names()}
        for name in [name for name, _ in encoder.named_children() if name not in stored]:
            setattr(encoder, name, None)

    def layer(self, index: int, device: str = "cpu") -> nn.Module:
        """Layer `index` as a float32 transformers module, weights of any width."""
        return self.layer_from(index, self.layer_tensors(index), device)

    def layer_from(
        self, index: int, tensors: dict[str, torch.Tensor], device: str = "cpu"
    ) -> nn.Module:
        """Layer `index` with the given tensors (by name within the layer) instead."""
        layer = copy.deepcopy(families.decoder_layers(self.skeleton)[index])
        decoder_layer.fill_(layer, tensors, device)
        shape = families.layer_shape(
            self.family, lambda name: list(tensors[name].shape), families.head_dim(self.config)
        )
        decoder_layer.fit_attention_(layer, self.family, shape)
        return layer

    def outer(self, device: str = "cpu") -> nn.Module:
        """The model without its layers: embedding, rotary embedding, final norm and head."""
        model = self._outer_skeleton()
        tensors = {n: t for n, t in self.outer_tensors().items() if self._is_modelled(n)}
        if self.family.causal and self.spec.tie_word_embeddings:
            table = tensors[f"{self.family.embedding}.weight"]
            tensors[f"{self.family.head}.weight"] = table
        decoder_layer.fill_(model, tensors, device)
        return model.to(device)

    def small_outer(self, device: str = "cpu") -> nn.Module:
        """`outer` without the weights of the token embedding and the head, which are None."""
        model = self._outer_skeleton()
        modules = [self.family.embedding, *([self.family.head] if self.family.causal else [])]
        tables = [f"{name}.weight" for name in modules]
        names = [name for name in self._outer_names() if self._is_modelled(name)]
        decoder_layer.fill_(
            model, {name: self.tensor(name) for name in names if name not in tables}, device
        )
        for name in modules:
            model.get_submodule(name).register_parameter("weight", None)
        return model.to(device)

    def _is_modelled(self, name: str) -> bool:
        """Whether a tensor belongs to what we build: the head of an encoder does not."""
        return self.family.causal or hasattr(self.skeleton, name.partition(".")[0])

    def _outer_skeleton(self) -> nn.Module:
        with _without_layers(self.skeleton):
            return copy.deepcopy(self.skeleton)

    def load(self, device: str = "cpu") -> nn.Module:
        """The whole model in float32, per-layer widths included, ready for inference.

        Returns:
            A transformers `...ForCausalLM`, or an encoder without a head, in eval mode, without
            gradients.
        """
        model = self.outer(device)
        for index in range(len(self.spec.layers)):
            families.decoder_layers(model).append(self.layer(index, device))
        return model

    def tokenizer(self) -> Any:
        """The model's fast tokenizer.

        Raises:
            BadRequestError: the folder carries none.
        """
        from transformers import AutoConfig, AutoTokenizer

        # Given the base family's config, transformers asks nobody to trust an adaptive one's code.
        adapted = families.ADAPTIVE in self.config
        config = AutoConfig.for_model(**self.config) if adapted else None
        try:
            return AutoTokenizer.from_pretrained(self.path, config=config, local_files_only=True)
        except (OSError, ValueError) as error:
            raise BadRequestError(
                f"{self.name} has no tokenizer that transformers can read: {error}",
                "put its tokenizer.json beside the weights",
            ) from error

    def special_ids(self) -> tuple[int | None, list[int]]:
        """(bos_token_id, eos_token_ids) from generation_config.json, else config.json."""
        sources = [self.config]
        generation = self.path / "generation_config.json"
        if generation.is_file():
            sources.insert(0, json.loads(generation.read_text(encoding="utf-8")))
        bos = next((s["bos_token_id"] for s in sources if s.get("bos_token_id") is not None), None)
        eos: Any = next(
            (s["eos_token_id"] for s in sources if s.get("eos_token_id") is not None), []
        )
        return bos, list(eos) if isinstance(eos, list) else [eos]


@contextmanager
def _without_layers(model: nn.Module) -> Iterator[None]:
    from torch import nn

    layers = families.decoder_layers(model)
    families.set_decoder_layers_(model, nn.ModuleList())
    try:
        yield
    finally:
        families.set_decoder_layers_(model, layers)


def open_checkpoint(model: str | Path | Checkpoint) -> Checkpoint:
    """Open a local folder, the `embedded` model, or a Hub id (fetched into the Hub's cache).

    One that is open already is handed back: what it has read and hashed is not read again.

    Raises:
        BadRequestError: nothing there, not a supported model, or no safetensors weights.
        MissingError: the packages of extra `prune` are absent.
    """
    if isinstance(model, Checkpoint):
        return model
    require_extra("prune", "reading a checkpoint")
    path, name = locate(model)
    config = read_config(path, name)
    families.family_of(config, name)
    return Checkpoint(path, name, config, _weight_files(path, name))


def locate(model: str | Path, config_only: bool = False) -> tuple[Path, str]:
    """The folder of a model and its name; a Hub id is fetched first (`config_only`: no weights).

    Raises:
        BadRequestError: neither a folder nor a Hub id.
        MissingError: the Hub cannot be reached.
    """
    folder = MODEL_DIR if str(model) == EMBEDDED else Path(model)
    if folder == MODEL_DIR:
        return folder, EMBEDDED
    if folder.is_dir():
        return folder, folder.resolve().name
    return _download(str(model), ["config.json"] if config_only else HUB_PATTERNS), str(model)


def read_config(path: Path, name: str) -> dict[str, Any]:
    """Parse config.json; that of an adaptive checkpoint as its base family's.

    Raises:
        BadRequestError: it is absent or not JSON.
    """
    file = path / "config.json"
    if not file.is_file():
        raise BadRequestError(f"no such model: {path} has no config.json")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise BadRequestError(f"config.json of {name} is not JSON: {error}") from error
    return adaptive.base_config(config)


def _weight_files(path: Path, name: str) -> tuple[Path, ...]:
    index = path / "model.safetensors.index.json"
    if index.is_file():
        shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        files = tuple(path / shard for shard in shards)
    else:
        files = (path / "model.safetensors",)
    missing = [f for f in files if not f.is_file()]
    if not missing:
        return files
    if list(path.glob("*.bin")) or list(path.glob("*.pt")) or list(path.glob("*.pth")):
        raise BadRequestError(
            f"{name} has only pickle weights, which can run code when read",
            "convert it once where you trust it: model.save_pretrained(DIR)",
        )
    raise BadRequestError(f"{name} lacks the weight file {missing[0].name}", "download it again")


def _download(model: str, patterns: list[str]) -> Path:
    require_extra("prune", "reading from the Hub")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    hint = "give a local folder with config.json, or a Hub id such as 'org/name'"
    try:
        return Path(snapshot_download(model, allow_patterns=patterns))
    except (HFValidationError, HfHubHTTPError) as error:
        first = str(error).splitlines()[0]
        raise BadRequestError(f"no such model: {model} ({first})", hint) from error
    except (LocalEntryNotFoundError, OSError) as error:
        raise MissingError(
            f"no such folder: {model}, and the Hub cannot be reached", hint
        ) from error
