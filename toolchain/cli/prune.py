"""`paredown prune`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from toolchain.cli.output import JsonFlag, emit, progress_on_stderr
from toolchain.recipe import PruneSettings

EXAMPLES = "Example: paredown prune embedded --ratio 0.2 --out pruned"

DEFAULT = PruneSettings()


def command(  # noqa: PLR0913, PLR0917 - one parameter per option
    model: Annotated[str, Argument(help="Local folder, Hub id, or 'embedded'.")],
    out: Annotated[Path, Option(help="Directory of the pruned checkpoint.")],
    ratio: Annotated[
        float, Option(help="At least this fraction of the parameters of --parts goes, in (0, 1).")
    ] = DEFAULT.ratio,
    params: Annotated[
        str | None, Option(help="Instead of --ratio: most parameters of the result, e.g. 2.5e9.")
    ] = DEFAULT.params,
    bytes: Annotated[
        str | None, Option(help="Instead of --ratio: most bytes of the exported weights, 900MB.")
    ] = DEFAULT.bytes,
    bytes_of: Annotated[
        str, Option(help="BACKEND:QUANTISATION of the file that --bytes limits.")
    ] = DEFAULT.bytes_of,
    latency_ms: Annotated[
        float | None, Option(help="Instead of --ratio: most ms per token, by --latency-table.")
    ] = DEFAULT.latency_ms,
    latency_table: Annotated[
        str | None, Option(help="JSON file of measured sizes and their ms per token.")
    ] = DEFAULT.latency_table,
    parts: Annotated[
        str, Option(help="What may go inside layers: all, mlp, attention, or layers (nothing).")
    ] = DEFAULT.parts,
    layers: Annotated[str, Option(help="Whole layers to drop first: auto or a number.")] = str(
        DEFAULT.layers
    ),
    layout: Annotated[
        str, Option(help="uniform, or adaptive: a width for each layer.")
    ] = DEFAULT.layout,
    pad: Annotated[
        bool, Option("--pad", help="Save an adaptive result in uniform layout, with zeros.")
    ] = DEFAULT.pad,
    allocation: Annotated[
        str, Option(help="uniform, auto; for --layout adaptive also global or kl.")
    ] = DEFAULT.allocation,
    protect: Annotated[
        float, Option(help="Share of the ratio that the first and last layer lose at most.")
    ] = DEFAULT.protect,
    recovery: Annotated[
        str,
        Option(
            help="least_squares, low_rank, mask_tuning, bias, none, auto, or your own "
            "'module:function'."
        ),
    ] = DEFAULT.recovery,
    importance: Annotated[
        str,
        Option(
            help="condition, condition_mask, wanda, magnitude, fluctuation, taylor, gblm, fisher, "
            "greedy, your own 'module:function', or auto."
        ),
    ] = DEFAULT.importance,
    drafts: Annotated[
        str, Option(help="Most drafts that the search may make: auto or a number.")
    ] = str(DEFAULT.drafts),
    joint_masks: Annotated[
        bool | None,
        Option(help="Tune the masks of all layers together afterwards.  [default: if affordable]"),
    ] = DEFAULT.joint_masks,
    tune: Annotated[str, Option(help="Short retraining: none, norms or lora.")] = DEFAULT.tune,
    steps: Annotated[int, Option(help="Optimiser steps of --tune.")] = DEFAULT.steps,
    calibration: Annotated[
        list[str],
        Option(
            help="builtin, FILE.txt, or hub:NAME[:CONFIG[:SPLIT]]; again for a mix, each with "
            ":WEIGHT."
        ),
    ] = DEFAULT.calibration,
    samples: Annotated[int, Option(help="Calibration samples.")] = DEFAULT.samples,
    seq_len: Annotated[int, Option(help="Most tokens of one sample.")] = DEFAULT.seq_len,
    max_memory: Annotated[
        str | None, Option(help="Hidden states beyond this size wait on disk, e.g. 2GB.")
    ] = DEFAULT.max_memory,
    device: Annotated[str, Option(help="auto, cpu, cuda or mps.")] = DEFAULT.device,
    seed: Annotated[int, Option(help="Seed of the calibration draw.")] = DEFAULT.seed,
    round_to: Annotated[
        int, Option(help="MLP widths are rounded down to a multiple of this.")
    ] = DEFAULT.round_to,
    as_json: JsonFlag = False,
) -> int:
    """Entry point; help texts come from the group."""
    from toolchain import api
    from toolchain.describe import describe

    with progress_on_stderr() as progress:
        record = api.prune(
            model,
            out=out,
            ratio=ratio,
            params=params,
            bytes=bytes,
            bytes_of=bytes_of,
            latency_ms=latency_ms,
            latency_table=latency_table,
            parts=parts,
            layers=layers,
            layout=layout,
            pad=pad,
            allocation=allocation,
            protect=protect,
            recovery=recovery,
            importance=importance,
            drafts=drafts,
            joint_masks=joint_masks,
            tune=tune,
            steps=steps,
            calibration=calibration,
            samples=samples,
            seq_len=seq_len,
            max_memory=max_memory,
            device=device,
            seed=seed,
            round_to=round_to,
            progress=progress,
        )
    emit(record, as_json, describe(out)[1])
    return 0
