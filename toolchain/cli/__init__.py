"""The command `paredown`: one module per verb, imported only when that verb is called."""

from __future__ import annotations

import importlib
from typing import Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from runtime_py.errors import fail, fail_with
from toolchain.errors import (
    EXIT_BAD_REQUEST,
    EXIT_INTERRUPTED,
    EXIT_OK,
    BadRequestError,
    did_you_mean,
)

PROGRAM = "paredown"

VERBS = {
    "run": "Run the whole line from a recipe; print the verdict.",
    "plan": "Show sizes before and after, without loading weights.",
    "prune": "Prune a model and recover its accuracy, no fine-tuning.",
    "export": "Export a checkpoint for ExecuTorch or ONNX Runtime.",
    "gguf": "Write a checkpoint as a GGUF file for llama.cpp.",
    "profile": "Measure a bundle's latency and memory on a device.",
    "compare": "Say how two measurements, or two bundles, differ.",
    "fit": "Say whether a bundle fits a device's memory.",
    "validate": "Prove a bundle against its dense model.",
    "gate": "Decide a verdict again, offline; for continuous integration.",
    "report": "Write what one or several runs found as a page, JSON and a model card.",
    "android": "Install the Android app on a phone, measure with it, talk to it.",
    "runner": "Build the native runner of .pte bundles for a device.",
    "info": "Say what a checkpoint or a bundle is.",
    "devices": "List the devices to measure on.",
    "doctor": "Say what this machine, or a device, can do and what it lacks.",
}


class _Verbs(TyperGroup):
    """A group whose commands are modules of this package."""

    def list_commands(self, ctx: Any) -> list[str]:
        del ctx
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        del ctx
        if cmd_name not in VERBS:
            raise BadRequestError(f"unknown verb '{cmd_name}'", did_you_mean(cmd_name, VERBS))
        module = importlib.import_module(f"toolchain.cli.{cmd_name}")
        verb = typer.Typer(add_completion=False, rich_markup_mode=None)
        verb.command(cmd_name, help=f"{VERBS[cmd_name]}\n\n{module.EXAMPLES}")(module.command)
        return typer.main.get_command(verb)


app = typer.Typer(
    cls=_Verbs,
    add_completion=False,
    rich_markup_mode=None,
    help="Prune an LLM on a laptop, export it, prove on the device that it may ship.",
)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    if version:
        from toolchain import __version__

        print(__version__)
    elif context.invoked_subcommand is None:
        print(context.get_help())


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code and never lets a traceback through.

    Set PAREDOWN_DEBUG=1 to see the traceback of an internal error.
    """
    try:
        result = typer.main.get_command(app).main(
            args=arguments, prog_name=PROGRAM, standalone_mode=False
        )
    except TyperException as error:
        return fail(PROGRAM, error.format_message(), EXIT_BAD_REQUEST)
    except Exception as error:
        return fail_with(PROGRAM, error)
    if result == EXIT_INTERRUPTED:  # typer's answer to Ctrl-C
        message = "interrupted; the same command goes on where it stopped"
        return fail(PROGRAM, message, EXIT_INTERRUPTED)
    return result if isinstance(result, int) else EXIT_OK
