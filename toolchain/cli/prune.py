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
        float, Option(help="Fraction of attention and MLP parameters to remove, in (0, 1).")
    ] = DEFAULT.ratio,
    parts: Annotated[str, Option(help="Where to prune: all, mlp or attention.")] = DEFAULT.parts,
    recovery: Annotated[
        str, Option(help="least_squares, mask_tuning, bias, none, or your own 'module:function'.")
    ] = DEFAULT.recovery,
    importance: Annotated[
        str,
        Option(
            help="condition, condition_mask, wanda, magnitude, fluctuation, your own "
            "'module:function', or auto: the one that matches the recovery."
        ),
    ] = DEFAULT.importance,
    calibration: Annotated[
        str, Option(help="builtin, FILE.txt, or hub:NAME[:CONFIG[:SPLIT]].")
    ] = DEFAULT.calibration,
    samples: Annotated[int, Option(help="Calibration samples.")] = DEFAULT.samples,
    seq_len: Annotated[int, Option(help="Most tokens of one sample.")] = DEFAULT.seq_len,
    device: Annotated[str, Option(help="auto, cpu, cuda or mps.")] = DEFAULT.device,
    seed: Annotated[int, Option(help="Seed of the calibration draw.")] = DEFAULT.seed,
    round_to: Annotated[
        int, Option(help="MLP widths become a multiple of this.")
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
            parts=parts,
            recovery=recovery,
            importance=importance,
            calibration=calibration,
            samples=samples,
            seq_len=seq_len,
            device=device,
            seed=seed,
            round_to=round_to,
            progress=progress,
        )
    emit(record, as_json, describe(out)[1])
    return 0
