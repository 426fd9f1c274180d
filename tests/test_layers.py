"""Imports point one way: worldkv_cli -> core -> trajectories."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FORBIDDEN = {
    "trajectories": {"core", "worldkv_cli", "torch", "typer", "rich"},
    "core": {"worldkv_cli", "typer", "rich"},
    "worldkv_cli": set[str](),
}
# All else in core/memory is policy.
STORAGE = {
    "bank.py",
    "copies.py",
    "disk_pool.py",
    "insertion.py",
    "pinned.py",
    "prune.py",
    "raw_file.py",
    "read_ahead.py",
    "rows.py",
    "sink.py",
    "window.py",
    "world_memory.py",
}
HEAVY = {"torch", "safetensors", "imageio", "imageio_ffmpeg"}


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def runs_later(node: ast.AST) -> bool:
    """Whether importing the module leaves out what is inside `node`."""
    if isinstance(node, ast.If):
        return "TYPE_CHECKING" in ast.unparse(node.test)
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


def imported(tree: ast.AST, *, module_level_only: bool = False) -> Iterator[tuple[str, int]]:
    """Dotted names that `tree` imports, with their lines; those under TYPE_CHECKING do not run."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)
        elif not (module_level_only and runs_later(node)):
            yield from imported(node, module_level_only=module_level_only)


@pytest.mark.parametrize("package", FORBIDDEN)
def test_imports_point_one_way(package: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in modules(package)
        for name, line in imported(ast.parse(path.read_text()))
        if name.split(".")[0] in FORBIDDEN[package]
    ]
    assert wrong == []


def test_memory_policy_knows_no_torch() -> None:
    memory = ROOT / "core" / "memory"
    policy = [path for path in memory.rglob("*.py") if path.name not in STORAGE]
    assert len(policy) > 10
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in policy
        for name, line in imported(ast.parse(path.read_text()))
        if name.split(".")[0] == "torch"
    ]
    assert wrong == []


def test_cli_modules_import_nothing_heavy() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in modules("worldkv_cli")
        for name, line in imported(ast.parse(path.read_text()), module_level_only=True)
        if name.split(".")[0] in HEAVY
    ]
    assert wrong == []


def test_help_loads_no_torch() -> None:
    """The same through every import on the way, as they really run."""
    code = (
        "import sys; from typer.testing import CliRunner; from worldkv_cli.main import app\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
        f"print(sorted(set(sys.modules) & {HEAVY!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_trajectories_loads_no_torch() -> None:
    code = (
        "import sys, pkgutil, importlib, trajectories\n"
        "for module in pkgutil.walk_packages(trajectories.__path__, 'trajectories.'):\n"
        "    importlib.import_module(module.name)\n"
        "print(sorted(set(sys.modules) & {'torch', 'core', 'worldkv_cli'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
