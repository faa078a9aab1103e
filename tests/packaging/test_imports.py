"""What importing does not do, and who may import whom."""

from __future__ import annotations

import ast
import os
import pkgutil
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import toolchain

ROOT = Path(__file__).parents[2]
KNOWING = ("families.py", "family.py", "family_table.py", "decoder_layer.py")
"""Modules of toolchain.model that write names of transformers' modules."""
HEAVY = ("torch", "numpy", "transformers", "onnxruntime", "executorch", "scipy", "matplotlib")


def _modules_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint('\\n'.join(sys.modules), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return {name.partition(".")[0] for name in done.stderr.splitlines()}


@pytest.mark.parametrize(
    "code",
    [
        "import runtime_py, runtime_py.schema, runtime_py.bundle, runtime_py.agent",
        "import toolchain, toolchain.recipe, toolchain.store, toolchain.dry_run",
        "from toolchain.cli import main\nmain(['--help'])",
        "from toolchain.cli import main\nmain(['plan', 'embedded'])",
        "from toolchain.cli import main\nmain(['doctor'])",
    ],
)
def test_nothing_heavy_is_imported(code: str) -> None:
    assert not _modules_after(code) & set(HEAVY)


def test_no_module_hides_a_verb() -> None:
    """Importing `toolchain.X` would replace a function `toolchain.X` by the module."""
    verbs = set(toolchain.__all__)
    modules = {module.name for module in pkgutil.iter_modules(toolchain.__path__)}
    assert not verbs & modules
    assert all(callable(getattr(toolchain, name)) for name in verbs - {"__version__"})


def test_help_answers_in_half_a_second() -> None:
    """CPU seconds, which other work on the machine does not change, and at best as wall time."""
    command = [sys.executable, "-c", "from toolchain.cli import main; main(['--help'])"]
    seconds = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < 0.5, seconds


def test_a_reader_that_goes_away_changes_no_exit_code() -> None:
    """`paredown ... | head` must not turn ship into hold."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-c", "from toolchain.cli import main; exit(main(['doctor']))"]
    done = subprocess.run(
        command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False, cwd=ROOT
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def _imported_packages(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return {name.partition(".")[0] for name in names}


def test_the_device_side_never_imports_the_host_side() -> None:
    files = sorted((ROOT / "runtime_py").rglob("*.py"))
    assert files
    assert not [f for f in files if "toolchain" in _imported_packages(f)]


def test_architecture_names_are_written_in_their_modules_only() -> None:
    names = {"q_proj", "k_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "self_attn"}
    names |= {"qkv_proj", "gate_up_proj", "c_attn", "c_proj", "fc1", "fc2", "out_proj", "ln_f"}
    names |= {"embed_tokens", "embed_positions", "lm_head", "input_layernorm"}
    homes = [ROOT / "toolchain" / "model" / name for name in KNOWING]
    found = []
    for path in sorted((ROOT / "toolchain").rglob("*.py")):
        if path in homes or path.parent.name == "remote":  # which runs without the rest of us
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        documentation = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        found += [
            (path.name, node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in documentation
            and any(name in node.value.split(".") for name in names)
        ]
    assert not found


def test_modules_stay_small() -> None:
    for package in ("toolchain", "runtime_py"):
        for path in (ROOT / package).rglob("*.py"):
            assert len(path.read_text(encoding="utf-8").splitlines()) <= 450, path
    pipeline = (ROOT / "toolchain" / "pipeline.py").read_text(encoding="utf-8")
    assert len(pipeline.splitlines()) <= 150
