"""Trains the embedded default: `python -m toolchain.embedded.train --out DIR`.

One CPU thread, fresh stories in every batch, the same weights for the same seed and versions.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from toolchain.cli.output import progress_on_stderr
from toolchain.embedded.card import write_card
from toolchain.embedded.grammar import documents, stories
from toolchain.embedded.score import score
from toolchain.progress import SILENT, Progress
from toolchain.store import write_json

VOCABULARY = 1024
BOS, EOS = "<s>", "</s>"
MAX_TOKENS = 256
TOKENIZER_DOCUMENTS = 10_000
POOL_BATCHES = 16
"""Batches are cut from this many batches' worth of stories sorted by length, to pad little."""
WARMUP_STEPS = 100
FINAL_LEARNING_RATE_RATIO = 0.02
NOTE_EVERY = 50
IGNORED = -100
"""Target of padding: nothing to predict."""


@dataclass(frozen=True)
class Training:
    """What a training run is made of."""

    steps: int
    batch: int
    """Stories per step."""
    learning_rate: float
    """Peak, after the warm-up."""
    seed: int
    card_documents: int = 400
    """Evaluation stories behind the card's perplexity."""
    card_items: int = 800
    """Minimal pairs behind the card's accuracies."""


def train_tokenizer() -> Any:
    """A byte-level BPE tokenizer of VOCABULARY tokens that puts BOS first."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents("train", TOKENIZER_DOCUMENTS), trainer)
    bos_id = tokenizer.token_to_id(BOS)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, bos_id)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=EOS,
        model_max_length=512,
        clean_up_tokenization_spaces=False,
    )


def new_model(tokenizer: Any) -> Any:
    """The untrained Llama: 1.7 million parameters, two query heads per key-value head."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=160,
        intermediate_size=480,
        num_hidden_layers=5,
        num_attention_heads=10,
        num_key_value_heads=5,
        head_dim=16,
        max_position_embeddings=512,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def batches(tokenizer: Any, size: int, seed: int) -> Iterator[list[list[int]]]:
    """Endless batches of `size` stories as token rows: BOS, text, EOS, at most MAX_TOKENS."""
    stream = stories("train")
    shuffle = torch.Generator().manual_seed(seed)
    while True:
        texts = [next(stream).text for _ in range(size * POOL_BATCHES)]
        rows = [[*row, tokenizer.eos_token_id] for row in tokenizer(texts)["input_ids"]]
        rows = sorted((row[:MAX_TOKENS] for row in rows), key=len)
        for index in torch.randperm(POOL_BATCHES, generator=shuffle).tolist():
            yield rows[index * size : (index + 1) * size]


def learning_rate(step: int, training: Training) -> float:
    """Linear warm-up, then half a cosine down to FINAL_LEARNING_RATE_RATIO of the peak."""
    if step < WARMUP_STEPS:
        return training.learning_rate * (step + 1) / WARMUP_STEPS
    done = (step - WARMUP_STEPS) / max(1, training.steps - WARMUP_STEPS)
    floor = FINAL_LEARNING_RATE_RATIO
    return training.learning_rate * (floor + (1 - floor) * (1 + math.cos(math.pi * done)) / 2)


def pad(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Right-pad token rows.

    Returns:
        Input ids (batch, length) int64, and targets of that shape: the next token, or IGNORED.
    """
    width = max(len(row) for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    targets = torch.full((len(rows), width), IGNORED)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(row)
        targets[index, : len(row) - 1] = torch.tensor(row[1:])
    return ids, targets


def token_losses(model: nn.Module, rows: Sequence[Sequence[int]]) -> Tensor:
    """Loss of every token after the first, in nats: (batch, length), zero where padded.

    Padding stands on the right, so the causal mask already keeps it from the tokens scored.
    """
    ids, targets = pad(rows)
    logits = model(input_ids=ids, use_cache=False).logits.float()
    flat = nn.functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none"
    )
    return flat.view_as(targets)


def optimizer_for(model: nn.Module, training: Training) -> torch.optim.AdamW:
    """AdamW that decays matrices but no norm weights."""
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() <= 1]
    return torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
        lr=training.learning_rate,
        betas=(0.9, 0.95),
    )


def train(training: Training, out: Path, save_every: int = 0, progress: Progress = SILENT) -> None:
    """Train from nothing and save tokenizer, float16 weights and model card in `out`.

    Args:
        training: steps, batch size, learning rate and seed.
        out: folder; files of an earlier run are replaced.
        save_every: also save every so many steps; 0 saves only at the end.
        progress: hears the loss.
    """
    torch.manual_seed(training.seed)
    tokenizer = train_tokenizer()
    model = new_model(tokenizer)
    optimizer = optimizer_for(model, training)
    tokens, start = 0, time.monotonic()
    supply = batches(tokenizer, training.batch, training.seed)
    for step, rows in zip(range(training.steps), supply, strict=False):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, training)
        scored = sum(len(row) - 1 for row in rows)
        loss = token_losses(model, rows).sum() / scored
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        tokens += scored
        done = step + 1
        if done % NOTE_EVERY == 0:
            progress.note(f"step {done} loss {loss:.4f} {time.monotonic() - start:.0f} s")
        if done == training.steps or (save_every and done % save_every == 0):
            save(model, tokenizer, training, out, done, tokens)


def save(
    model: Any, tokenizer: Any, training: Training, out: Path, steps: int, tokens: int
) -> None:
    """Save the checkpoint as it is after `steps` steps, scored as saved."""
    out.mkdir(parents=True, exist_ok=True)
    facts = {
        "steps": steps,
        "batch": training.batch,
        "learning_rate": training.learning_rate,
        "seed": training.seed,
        "planned_steps": training.steps,
        "tokens": tokens,
    }
    with tempfile.TemporaryDirectory(dir=out.parent) as name:
        folder = Path(name)
        copy.deepcopy(model).half().save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        _name_tokenizer_class(folder / "tokenizer_config.json")
        write_card(folder, score(folder, training.card_documents, training.card_items), facts)
        for file in folder.iterdir():
            file.chmod(0o644)
            file.replace(out / file.name)


def _name_tokenizer_class(path: Path) -> None:
    """Write the class name that every transformers release knows, not the newest one's."""
    config = json.loads(path.read_text(encoding="utf-8"))
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    write_json(path, config)


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save-every", type=int, default=0)
    args = parser.parse_args()
    training = Training(args.steps, args.batch, args.learning_rate, args.seed)
    torch.set_num_threads(1)  # sums in another order would give other weights
    with progress_on_stderr() as progress:
        train(training, args.out, args.save_every, progress)


if __name__ == "__main__":
    main()
