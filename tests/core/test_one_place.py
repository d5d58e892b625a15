"""What the product does in one place only, found in its source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from paths import ROOT, product_files

SOURCES = product_files()

POSIX_OR_WINDOWS_ONLY = {"fcntl", "pwd", "grp", "resource", "termios", "tty", "pty", "msvcrt", "winreg", "_winapi"}


def renames(node: ast.AST) -> bool:
    """os.replace, os.rename, shutil.move, Path.rename, or Path.replace, which has one argument where str's has two."""
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Name("os"), attr="replace" | "rename" | "renames")):
            return True
        case ast.Call(func=ast.Attribute(value=ast.Name("shutil"), attr="move")):
            return True
        case ast.Call(func=ast.Attribute(attr="rename")):
            return True
        case ast.Call(func=ast.Attribute(attr="replace"), args=[_], keywords=[]):
            return True
        case ast.ImportFrom(module="os" | "shutil", names=names):
            return bool({"replace", "rename", "renames", "move"} & {name.name for name in names})
    return False


def makes_private_files(node: ast.AST) -> bool:
    """What makes a temporary file beside its target; a folder of the system's is another matter."""
    match node:
        case ast.Attribute(attr="mkstemp" | "mktemp" | "NamedTemporaryFile"):
            return True
        case ast.ImportFrom(module="tempfile"):
            return True
    return False


def loads_arrays(node: ast.AST) -> bool:
    """numpy.load, by any name of the module."""
    match node:
        case ast.Attribute(value=ast.Name("np" | "numpy"), attr="load"):
            return True
        case ast.ImportFrom(module="numpy", names=names):
            return "load" in {name.name for name in names}
    return False


def makes_arrays(node: ast.AST) -> bool:
    """What makes an array in a Zarr store."""
    match node:
        case ast.Attribute(attr="create_array" | "require_array" | "create_dataset" | "from_array" | "to_zarr"):
            return True
    return False


def private_zarr(node: ast.AST) -> bool:
    """An import of what zarr does not document."""
    match node:
        case ast.ImportFrom(module=str(module)):
            return module.startswith(("zarr.core", "zarr._")) or (
                module.startswith("zarr") and any(name.name.startswith("_") for name in node.names)
            )
        case ast.Import(names=names):
            return any(name.name.startswith(("zarr.core", "zarr._")) for name in names)
    return False


@cache
def nodes(path: Path) -> list[ast.AST]:
    """All of a module's syntax tree."""
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def places(seen, sources=SOURCES) -> list[str]:
    """File and line of every such node."""
    found = []
    for path in sources:
        found += [f"{path.relative_to(ROOT).as_posix()}:{node.lineno}" for node in nodes(path) if seen(node)]  # pyright: ignore[reportAttributeAccessIssue]
    return found


@pytest.mark.parametrize(("seen", "file"), [(renames, "core/storage/atomic.py"), (loads_arrays, "core/files.py")])
def test_one_place(seen, file):
    found = places(seen)
    assert [place.rpartition(":")[0] for place in found] == [file], f"use what {file} has: {found}"


def test_every_array_of_a_store_is_made_where_it_gets_named_axes():
    assert {place.rpartition(":")[0] for place in places(makes_arrays)} == {"core/storage/creation.py"}


@pytest.mark.parametrize("seen", [makes_private_files, private_zarr])
def test_no_place(seen):
    assert places(seen) == []


def imported_with_the_module(tree: ast.Module) -> Iterator[str]:
    """Modules that are imported when this one is: also under `if`, `try` or in a class, but not in a function."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (name.name.split(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield (node.module or "").split(".")[0]
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)


def test_no_module_needs_a_module_of_one_system_only():
    assert len(SOURCES) > 100
    for path in SOURCES:
        imported = set(imported_with_the_module(ast.parse(path.read_text(encoding="utf-8"))))
        assert not imported & POSIX_OR_WINDOWS_ONLY, f"{path}: {imported & POSIX_OR_WINDOWS_ONLY}"


@pytest.mark.parametrize(
    ("seen", "text"),
    [
        *((renames, text) for text in ("os.replace(a, b)", "a.rename(b)", "path.replace(b)", "from os import replace")),
        (renames, "shutil.move(a, b)"),
        *((loads_arrays, text) for text in ("np.load(a)", "numpy.load(a)", "from numpy import load")),
        *((makes_private_files, text) for text in ("tempfile.mkstemp()", "from tempfile import NamedTemporaryFile")),
        *((makes_arrays, text) for text in ("group.create_array('a', shape=s)", "data.to_zarr(path)")),
        *((private_zarr, text) for text in ("from zarr.core.sync import sync", "import zarr.core.array")),
    ],
)
def test_the_checks_see_every_form(seen, text):
    assert any(seen(node) for node in ast.walk(ast.parse(text)))


def test_the_checks_see_nothing_else():
    text = "a.replace('x', 'y'); replace(a, b=1); json.load(f); import zarr\nfrom zarr.errors import GroupNotFoundError"
    checks = (renames, loads_arrays, makes_private_files, makes_arrays, private_zarr)
    assert not [node for node in ast.walk(ast.parse(text)) for seen in checks if seen(node)]
    text = "if True:\n    import fcntl\ndef f():\n    import msvcrt"
    assert set(imported_with_the_module(ast.parse(text))) == {"fcntl"}
