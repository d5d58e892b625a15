"""The walls of the house, by rule: rings, rooms, circles, sizes. docs/architecture.md says them in words."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from paths import ROOT, product_files

MARK = "# Ring 2: reads and writes."
"""A module with this line may use machinery. A module without it is pure math on arrays, and is held to that."""

MACHINERY = {
    *("av", "cv2", "dask", "distributed", "filelock", "fsspec", "mediapipe", "os", "pathlib", "psutil", "pyarrow"),
    *("shutil", "subprocess", "tempfile", "tornado", "tyro", "xarray", "zarr"),
}
"""What pure math never imports: files, processes, the engine and the store, images, the command line."""

STAGES = ("capture", "calibration", "triangulation", "fitting", "generation")

MAY_IMPORT = {
    "core": {"core"},
    "hand": {"core", "hand"},
    # A stage meets another only through the store; what it needs of a clip is handed to it.
    **{stage: {"core", "hand", stage} for stage in STAGES},
    "rendering": {"core", "hand", "capture", "rendering"},
    "reporting": {"core", "hand", "capture", "rendering", "reporting"},
    "doctor": {"core", "hand", *STAGES, "rendering", "exchange", "settings", "doctor"},
    "exchange": {"core", "hand", "capture", "calibration", "exchange"},
    "settings": {"core", *STAGES, "rendering", "settings"},
    "pipeline": {"core", "hand", *STAGES, "rendering", "exchange", "settings", "pipeline"},
    "summary": {"core", "hand", "pipeline", "screen", "summary"},
    "screen": {"core", "screen"},
    "api": {
        *("core", "hand", *STAGES, "rendering", "reporting", "exchange"),
        *("settings", "pipeline", "summary", "screen", "api"),
    },
    "commands": {
        *("core", "hand", *STAGES, "rendering", "reporting", "doctor", "exchange"),
        *("settings", "pipeline", "summary", "screen", "commands"),
    },
}
"""Rooms at the top, and whom they may know. `cli` and the package itself may know everybody."""


@dataclass(frozen=True)
class Module:
    """A module of the product, and what it imports."""

    name: str
    """Dotted, below handpipe."""
    marked: bool
    outside: frozenset[str]
    """Packages that are not ours."""
    inside: frozenset[str]
    """Modules of the product."""

    @property
    def room(self) -> str:
        return self.name.split(".")[0]


def dotted(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree: ast.Module) -> Iterator[ast.Import | ast.ImportFrom]:
    """Every import of a module, those inside functions among them; those for the type checker are none."""
    skipped: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            skipped |= {id(inner) for inner in ast.walk(node)}
        if isinstance(node, ast.Import | ast.ImportFrom) and id(node) not in skipped:
            yield node


def read(root: Path) -> dict[str, Module]:
    """The product's modules by name."""
    paths = {dotted(path, root): path for path in product_files(root)}
    found = {}
    for name, path in paths.items():
        text = path.read_text(encoding="utf-8")
        package = path.relative_to(root).parts[:-1]
        outside, inside = set(), set()
        for node in imports(ast.parse(text)):
            if isinstance(node, ast.Import):
                outside |= {alias.name.split(".")[0] for alias in node.names}
            elif not node.level:
                outside.add((node.module or "").split(".")[0])
            else:
                base = [
                    *package[: len(package) - node.level + 1],
                    *((node.module or "").split(".") if node.module else []),
                ]
                for alias in node.names:
                    full = ".".join([*base, alias.name])
                    inside.add(full if full in paths else ".".join(base))
        found[name] = Module(name, MARK in text.splitlines(), frozenset(outside), frozenset(inside) - {name})
    return found


@cache
def product() -> dict[str, Module]:
    return read(ROOT)


def needs_mark(module: Module, modules: dict[str, Module]) -> list[str]:
    """Why a module is not pure math: machinery, or modules that are marked."""
    return sorted(
        (module.outside & MACHINERY) | {name for name in module.inside if name in modules and modules[name].marked}
    )


def test_a_module_without_the_mark_is_pure_math():
    wrong = {
        name: why for name, module in product().items() if not module.marked and (why := needs_mark(module, product()))
    }
    assert not wrong, f"take these imports out, or write the line {MARK!r} below the docstring"


def test_a_module_with_the_mark_needs_it():
    wrong = [name for name, module in product().items() if module.marked and not needs_mark(module, product())]
    assert not wrong, f"these modules are pure math: take the line {MARK!r} out, so that they are held to it"


def test_pure_math_loads_no_machinery():
    """In a fresh interpreter, with all pure modules: what they import imports none of it either."""
    pure = [f"handpipe.{name}" for name, module in product().items() if name and not module.marked]
    assert len(pure) > 80, "the check sees nothing"
    code = (
        "import importlib, sys\n"
        f"for name in {pure!r}: importlib.import_module(name)\n"
        "print([m for m in ('dask', 'distributed', 'zarr', 'cv2', 'mediapipe', 'tyro', 'pyarrow') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert out.stdout.strip() == "[]"


def test_rooms_know_only_those_below_them():
    wrong = [
        f"{name} imports {other}"
        for name, module in product().items()
        if module.room in MAY_IMPORT
        for other in sorted(module.inside)
        if other and other.split(".")[0] not in MAY_IMPORT[module.room]
    ]
    assert not wrong
    assert {module.room for module in product().values()} == {*MAY_IMPORT, "", "__main__", "cli"}


def test_no_import_circle():
    """Depth first over every import, lazy ones too."""
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name in done:
            return
        for other in sorted(product()[name].inside):
            # `from .. import __version__`: a name of the package, which imports nothing.
            if other and other in product():
                visit(other, (*path, name))
        done.add(name)

    for name in product():
        visit(name, ())


def test_rooms_are_of_a_size_that_one_can_look_over():
    lines = {path: path.read_text(encoding="utf-8").count("\n") for path in product_files()}
    total = sum(lines.values())
    for room in {path.relative_to(ROOT).parts[0] for path in lines if len(path.relative_to(ROOT).parts) > 1}:
        share = sum(n for path, n in lines.items() if path.relative_to(ROOT).parts[0] == room) / total
        assert share <= (0.26 if room == "exchange" else 0.22), f"{room}/ has {100 * share:.1f} % of the lines"
    for folder in {path.parent for path in lines}:
        modules = [path for path in lines if path.parent == folder and path.name != "__init__.py"]
        assert len(modules) <= 16, f"{folder} has {len(modules)} modules: split it"


def test_help_does_not_import_pytorch():
    code = (
        "import sys, handpipe.cli\n"
        "try: handpipe.cli.main(['--help'])\n"
        "except SystemExit: print([name for name in ('torch', 'diffusers', 'mediapipe') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert out.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("from ..fitting.solver import fit", {"fitting.solver"}, set()),
        ("from .. import pipeline", {"pipeline"}, set()),
        ("from . import hands", {"core.hands"}, set()),
        ("def f():\n    import zarr.core", set(), {"zarr"}),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import cv2", set(), {"typing"}),
    ],
)
def test_the_check_sees_every_form_of_import(tmp_path, text, inside, outside):
    for name in ("core/bad.py", "core/hands.py", "fitting/solver.py", "pipeline.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "core" / "bad.py").write_text(f'"""Doc."""\n\n{MARK}\n\n{text}\n')
    bad = read(tmp_path)["core.bad"]
    assert (bad.inside, bad.outside, bad.marked) == (inside, outside, True)
