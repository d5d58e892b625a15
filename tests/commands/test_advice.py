"""Advice can be followed: the flags that messages name are flags of the commands that print them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from every_command import every_command, flags_of
from paths import ROOT

PRODUCT = (
    *("capture", "calibration", "triangulation", "fitting", "generation", "exchange", "rendering", "core", "hand"),
    *("reporting", "doctor", "api"),
)

FLAG = re.compile(r"(?<![\w-])(?<!var\()--[a-z][a-z0-9_.-]*[a-z0-9]")

FOREIGN = {
    "core/cluster/batch.py": {"--nthreads"},  # dask worker
    "exchange/cameras/colmap.py": {"--input_path", "--output_path", "--output_type"},  # colmap
    "exchange/keypoints2d/hands.py": {"--keypoint_scale"},  # OpenPose
    "exchange/keypoints2d/formats/openpose.py": {"--write_json", "--hand"},
}
"""Flags of other tools that messages name."""

PIP = "capture/mediapipe/bundle.py"
"""Its flags are arguments of pip."""

ON_SESSION = {"run", "calibrate", "detect", "triangulate", "fit"}

PRINTED_BY: dict[str, set[str]] = {
    "generation/evaluation": {"evaluate", "train-evaluator"},
    "generation/sampling": {"generate"},
    "generation/training": {"train-diffusion"},
    "rendering/augment.py": {"augment"},
    "capture/learning": {"train-detector"},
    "exchange/exporting.py": {"export mano"},
    "exchange/datasets/interhand26m/importer.py": {"import interhand26m"},
    "exchange/datasets/hub": {"import hub"},
    "exchange/datasets/coco/importer.py": {"import coco"},
    "pipeline.py": ON_SESSION | {"import keypoints"},
    "core/engine.py": {*ON_SESSION, "synthesize", "augment", "generate", "train-diffusion", "train-detector"},
}
"""Modules that belong to some commands: each flag that they name is one of all these commands, or of one that the
message names."""

BY_COMMAND = {name: flags_of(cls) for name, cls in every_command()}


def texts(path: Path) -> Iterator[str]:
    """Every string in a module but its docstrings; the parts of an f-string are joined."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "\0" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs | inside:
            yield node.value


def named(path: Path) -> list[tuple[str, str, str | None]]:
    """(flag, text, the command that it is said of)."""
    found = []
    for text in texts(path):
        for quoted in re.findall(r"`handpipe ([a-z][^`]*)`", text):
            command = max((name for name in BY_COMMAND if f"{quoted} ".startswith(f"{name} ")), key=len, default=None)
            assert command is not None or quoted.split()[0] in ("import", "export"), f"{path}: no command `{quoted}`"
            found += [(flag, text, command) for flag in FLAG.findall(quoted)]
        found += [(flag, text, None) for flag in FLAG.findall(re.sub(r"`handpipe [a-z][^`]*`", "", text))]
    return found


MODULES = sorted(
    str(path.relative_to(ROOT).as_posix())
    for folder in (*PRODUCT, "commands")
    for path in (ROOT / folder).rglob("*.py")
    if path.relative_to(ROOT).as_posix() != PIP
) + ["pipeline.py", "settings.py", "cli.py"]


@pytest.mark.parametrize("module", [module for module in MODULES if named(ROOT / module)])
def test_the_flags_that_messages_name_exist(module):
    every = set().union(*BY_COMMAND.values()) | {"--version"} | FOREIGN.get(module, set())
    owners = next((names for prefix, names in PRINTED_BY.items() if module.startswith(prefix)), set())
    for flag, text, command in named(ROOT / module):
        if command is not None:
            assert flag in BY_COMMAND[command], f"`handpipe {command}` has no {flag}: {text}"
        elif owners:
            assert any(flag in BY_COMMAND[owner] for owner in owners), f"none of {owners} has {flag}: {text}"
        else:
            assert flag in every, f"no command has {flag}: {text}"


def test_the_check_sees_flags():
    assert sum(len(named(ROOT / module)) for module in MODULES) > 50
