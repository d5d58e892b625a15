"""Alignment, damping and rotations are written once: what looks like a second copy is found in the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from paths import ROOT, product_files

ALIGNMENTS = {"svd", "align_vectors", "Rodrigues"}
"""Calls by which an alignment, or a rotation's conversion, could be written again."""

FACTOR = 2.0
"""A damping schedule multiplies by this or more, and divides by it or more."""


def product() -> Iterator[tuple[str, ast.Module]]:
    """Path from the root and parsed text of every module of the product."""
    for path in product_files():
        yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def calls(tree: ast.AST, name: str) -> int:
    """How often a function or method of this name is called."""
    named = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    return sum(getattr(func, "attr", getattr(func, "id", None)) == name for func in named)


def schedules(tree: ast.AST) -> set[str]:
    """Variables that one function both raises and lowers by a constant factor, as a damping is."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    return {name for up, down in map(scaled, functions) for name in up & down}


def scaled(function: ast.FunctionDef) -> tuple[set[str], set[str]]:
    """Variables that become a multiple of themselves, of `FACTOR` or more, and of 1 / `FACTOR` or less."""
    up: set[str] = set()
    down: set[str] = set()
    for node in ast.walk(function):
        if isinstance(node, ast.AugAssign):
            products = [(node.target, factor_of(node.op, node.value))]
            targets = {base(node.target)}
        elif isinstance(node, ast.Assign):
            binary = [part for part in ast.walk(node.value) if isinstance(part, ast.BinOp)]
            products = [(part.left, factor_of(part.op, part.right)) for part in binary]
            products += [
                (part.right, factor_of(part.op, part.left)) for part in binary if isinstance(part.op, ast.Mult)
            ]
            tuples = [target.elts if isinstance(target, ast.Tuple) else [target] for target in node.targets]
            targets = {base(target) for group in tuples for target in group}
        else:
            continue
        up |= {base(left) for left, factor in products if factor >= FACTOR} & targets
        down |= {base(left) for left, factor in products if factor <= 1 / FACTOR} & targets
    return up, down


def factor_of(op: ast.operator, value: ast.expr) -> float:
    """1 where it is not a product or quotient with a constant."""
    if isinstance(value, ast.Constant) and isinstance(value.value, int | float) and value.value:
        return value.value if isinstance(op, ast.Mult) else 1 / value.value if isinstance(op, ast.Div) else 1.0
    return 1.0


def base(target: ast.expr) -> str:
    """Without the index."""
    return ast.unparse(target.value if isinstance(target, ast.Subscript) else target)


def test_one_place_aligns_points():
    found = {(place, name) for place, tree in product() for name in ALIGNMENTS if calls(tree, name)}
    assert found == {
        ("core/geometry.py", "svd"),
        # OpenCV's own results, and its files, hold rotation vectors as it defines them.
        ("calibration/initial.py", "Rodrigues"),
    }


def test_one_place_schedules_a_damping():
    found = {(place, name) for place, tree in product() for name in schedules(tree)}
    assert found == {("core/least_squares.py", "self.damping")}


def test_the_checks_see_a_copy():
    copy = ast.parse(
        "def fit(H, cost):\n"
        "    mu = 1.0\n"
        "    while True:\n"
        "        if better: mu = max(mu / 10, 1e-9)\n"
        "        else: mu *= 10\n"
        "def solve(M):\n"
        "    u, s, vt = np.linalg.svd(M)\n"
    )
    assert schedules(copy) == {"mu"}
    assert calls(copy, "svd") == 1
    assert schedules(ast.parse("def f(x):\n    d[i] = np.where(b, d[i] * 0.1, 10 * d[i])\n")) == {"d"}


def test_the_product_is_read():
    assert Path(ROOT / "core" / "geometry.py").exists()
    assert len(list(product())) > 100
