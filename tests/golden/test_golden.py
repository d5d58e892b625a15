"""Every stage's numbers are those of its code version; a change of the one without the other is noticed."""

from __future__ import annotations

import ast
import re
import runpy
import tomllib
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from golden import DATA, Golden, Tolerance, check, refresh, stored_path
from golden_stages import GOLDENS
from paths import ROOT

from handpipe.exchange.keypoints2d import session as keypoints2d

VERSION_NAME = re.compile(r"(\w+_)?CODE")


@pytest.mark.parametrize("golden", GOLDENS, ids=lambda golden: golden.name)
def test_the_numbers_are_those_of_the_code_version(golden, tmp_path):
    check(golden, tmp_path)


# ---- nothing is left out -----------------------------------------------------------------------------------------


@cache
def product() -> tuple[tuple[str, ast.Module], ...]:
    """Every module of the package, by its import name."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    paths = [ROOT / name for name in settings["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]]
    files = [file for path in paths for file in (sorted(path.rglob("*.py")) if path.is_dir() else [path])]
    return tuple(
        (f"handpipe.{'.'.join(file.relative_to(ROOT).with_suffix('').parts)}", ast.parse(file.read_text()))
        for file in files
        if file.suffix == ".py"
    )


def versions(module: ast.Module) -> set[str]:
    """Names of a module's code versions."""
    found = set()
    for node in module.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        for target in targets:
            names = target.elts if isinstance(target, ast.Tuple) else [target]
            found |= {name.id for name in names if isinstance(name, ast.Name) and VERSION_NAME.fullmatch(name.id)}
    return found


def test_every_code_version_has_a_golden():
    found = {(name, version) for name, module in product() for version in versions(module)}
    assert found == {(golden.module, golden.constant) for golden in GOLDENS}, (
        "add a golden in tests/support/golden_*.py"
    )


def test_every_code_in_a_fingerprint_is_a_named_version():
    for name, module in product():
        known = versions(module)
        for node in ast.walk(module):
            if isinstance(node, ast.Dict):
                for key, value in zip(node.keys, node.values, strict=True):
                    if isinstance(key, ast.Constant) and key.value == "code":
                        where = f"{name}, line {node.lineno}: name the code version by a constant"
                        assert isinstance(value, ast.Name), where
                        assert value.id in known or value.id == "EARLIEST", where


def test_every_stored_file_has_a_golden():
    assert {path.stem for path in DATA.glob("*.npz")} == {golden.name for golden in GOLDENS}
    assert len({golden.name for golden in GOLDENS}) == len(GOLDENS)


def test_the_stored_files_stay_small():
    assert sum(path.stat().st_size for path in DATA.rglob("*") if path.is_file()) < 300_000


# ---- the mechanism -----------------------------------------------------------------------------------------------


class Stage:
    """A stage whose version and numbers can be changed."""

    def __init__(self, monkeypatch, folder: Path) -> None:
        self._monkeypatch, self._folder = monkeypatch, folder
        self.raise_to(1)
        self.numbers = {"metres": np.array([1.0, np.nan, 3.0]), "hands": np.array([0, 1])}
        make = lambda work: self.numbers  # noqa: E731
        self.golden = Golden("toy", keypoints2d.__name__, make, {"metres": Tolerance(1e-3)})

    def raise_to(self, code: int) -> None:
        self._monkeypatch.setattr(keypoints2d, "CODE", code)

    def check(self) -> None:
        check(self.golden, self._folder, self._folder / "data")

    def refresh(self) -> None:
        refresh(self.golden, self._folder, self._folder / "data")


@pytest.fixture
def stage(monkeypatch, tmp_path) -> Stage:
    made = Stage(monkeypatch, tmp_path)
    made.refresh()
    made.check()
    return made


CHANGES = {
    "a number": {"metres": np.array([1.0, np.nan, 3.01])},
    "a NaN": {"metres": np.array([1.0, 2.0, 3.0])},
    "no NaN": {"metres": np.array([np.nan, np.nan, 3.0])},
    "a whole number": {"hands": np.array([0, 0])},
    "the length": {"hands": np.array([0, 1, 1])},
    "the kind": {"hands": np.array([0.0, 1.0])},
    "one more": {"pixels": np.array([0.0])},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_without_a_raised_version_fails_and_cannot_be_stored(stage, change):
    stage.numbers = {**stage.numbers, **change}
    with pytest.raises(AssertionError, match=r"numbers changed.* CODE in exchange/keypoints2d/session.py is still 1"):
        stage.check()
    with pytest.raises(ValueError, match="to be higher than 1"):
        stage.refresh()
    stage.raise_to(2)
    with pytest.raises(AssertionError, match=r"is 2, but .* at 1. Run `python tests/golden/refresh.py toy`"):
        stage.check()
    stage.refresh()
    stage.check()


def test_an_output_that_is_gone_is_a_change(stage):
    del stage.numbers["hands"]
    with pytest.raises(AssertionError, match="`hands` is gone"):
        stage.check()


def test_a_raised_version_wants_to_be_stored_even_where_the_numbers_are_the_same(stage):
    stage.raise_to(2)
    with pytest.raises(AssertionError, match=r"Run `python tests/golden/refresh\.py toy`"):
        stage.check()


def test_a_version_is_never_lowered(stage):
    stage.raise_to(0)
    with pytest.raises(AssertionError, match="1 or higher"):
        stage.check()
    with pytest.raises(ValueError, match="to be higher than 1"):
        stage.refresh()


def test_the_last_bits_are_no_change(stage):
    stage.numbers = {**stage.numbers, "metres": stage.numbers["metres"] + 1e-4}
    stage.check()


def test_a_stage_that_computes_other_numbers_is_noticed(monkeypatch, tmp_path):
    """For once not a toy."""
    (golden,) = (each for each in GOLDENS if each.name == "keypoints2d")
    before = keypoints2d._instants

    def shifted(*args):
        found = before(*args)
        return {**found, "points": found["points"] + np.float32(0.01)}

    monkeypatch.setattr(keypoints2d, "_instants", shifted)
    with pytest.raises(AssertionError, match=r"`detections\.points`"):
        check(golden, tmp_path)


def test_the_command_refuses_while_the_version_is_the_same(capsys):
    script = runpy.run_path(str(ROOT / "tests" / "golden" / "refresh.py"))
    name, path = GOLDENS[0].name, stored_path(GOLDENS[0])
    before = path.read_bytes()
    assert script["main"]([name]) == 2
    assert f"{name}: expected BOARD_CODE in calibration/stage.py to be higher than" in capsys.readouterr().err
    assert path.read_bytes() == before
    assert script["main"](["nothing"]) == 2
    assert "usage" in capsys.readouterr().err
