"""Attributes of a store that somebody has edited: a sentence, or computed again, or of no consequence."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stored_motions import clip, fitted
from toy_stage import execute

from handpipe.cli import main
from handpipe.core.errors import StoreError
from handpipe.core.storage.attributes import RULES, Attributes, checked
from handpipe.core.storage.store import Store

MISSING = "MISSING"

WRONG: dict[str, list[Any]] = {
    "complete": [None, 0, "x", [], {}],
    "fingerprint": [0, "x", [], True, {"settings": "x"}, {"inputs": None}],
    "unit_dims": [None, 0, "x", [], {}, [None], ["frame", "frame"]],
    "chunk_frames": [None, -1, "x", [], 0.5, True, 10**30],
    "fps": [None, 0, -1, "x", [], {}, True, 1e300, float("nan"), 10**400],
    "hand_model": [None, 0, "x", [], {}, ["a"], ["a", 1]],
    "hands_found": [None, "x", {}, ["x"], [True]],
    "reprojection_px": ["x", [], True, float("inf")],
    "imported": [None, 0, "x", [1], {"a": 1}],
    "board": [None, 0, "x", []],
    "without_calibration": [None, 0, "x", {}, [0]],
    "reasons": [None, "x", [], {"a": 1}],
    "sha256": [None, "x", [], {"a": 1}, {"a": [1, 2]}, {"a": [1, "x", "y"]}],
    "cameras_toml": [None, "x", [1]],
    "depth_unit_m": [0, -1, "x"],
}

RIGHT: dict[str, list[Any]] = {
    "complete": [True, False],
    "fingerprint": [None, {}, {"code": 1}, {"settings": {}, "inputs": {"a": None}}],
    "unit_dims": [["frame"], ["view", "frame"]],
    "chunk_frames": [1, 64],
    "fps": [30, 29.97, 0.5],
    "hand_model": [["a", "b"]],
    "reprojection_px": [None, 3, 0.5],
    "imported": [["a.json"], {"keypoints": "a.csv"}],
    "reasons": [{}, {"cam0": "why"}],
    "sha256": [{}, {"a": [1, 2, "x"]}],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in WRONG for value in WRONG[name]])
def test_a_wrong_value_is_a_sentence(name, value):
    with pytest.raises(StoreError, match=rf"^s\.zarr: group `g`: expected .* attribute `{name}`, but found .* Restore"):
        checked({"fps": 30.0, name: value}, "s.zarr", "g")


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in RIGHT for value in RIGHT[name]])
def test_what_handpipe_writes_is_right(name, value):
    assert checked({name: value, "theirs": object}, "s.zarr", "g")[name] == value


def test_no_frame_in_a_unit_along_frames():
    assert checked({"unit_dims": ["session"], "chunk_frames": 0}, "s.zarr", "g")
    with pytest.raises(StoreError, match="expected one frame or more in the attribute `chunk_frames`"):
        checked({"unit_dims": ["view", "frame"], "chunk_frames": 0}, "s.zarr", "g")


def test_what_is_missing_is_a_sentence_where_it_is_asked_for():
    found = checked({"fingerprint": {"inputs": {}}}, "s.zarr", "g")
    for each in (found, pickle.loads(pickle.dumps(found))):
        with pytest.raises(StoreError, match="expected the attribute `fps`, but it is missing"):
            each["fps"]
        with pytest.raises(StoreError, match="expected the attribute `views`, but it is missing"):
            each["fingerprint"]["inputs"]["views"]
        assert each.get("fps") is None
    assert isinstance(found, Attributes)


def edit(store: Path, group: str, name: str, value: Any) -> None:
    path = store / group / "zarr.json"
    node = json.loads(path.read_text())
    if value is MISSING:
        del node["attributes"][name]
    else:
        node["attributes"][name] = value
    path.write_text(json.dumps(node))


EDITS = [MISSING, -1, None, "x"]
"""Every name is edited in one way, for time; the rules are tested above in all."""


@pytest.fixture(scope="module")
def session(tmp_path_factory) -> Path:
    """Imported keypoints, fitted: what an edit breaks is computed again in no time."""
    folder = tmp_path_factory.mktemp("imported")
    fitted(folder / "f", clip(4))
    assert main(["export", "csv", str(folder / "f"), "--out", str(folder / "k.csv")]) == 0
    assert main(["import", "keypoints", str(folder / "k.csv"), str(folder / "s"), "--fps", "30"]) == 0
    assert main(["fit", str(folder / "s"), "--workers", "0", "--json"]) == 0
    return folder / "s"


@pytest.mark.parametrize("group", ["keypoints", "shape", "mano"])
def test_every_edit_ends_well(session, tmp_path, group, capsys):
    """Exit 0, after what was computed again, or 2 with one sentence. What is not caught is raised here."""
    names = list(Store(str(session / "session.zarr")).attrs(group))
    assert {"complete", "fingerprint", "unit_dims", "chunk_frames"} <= set(names)
    for name in names:
        value = EDITS[len(name + group) % len(EDITS)]
        root = Path(shutil.copytree(session, tmp_path / name))
        edit(root / "session.zarr", group, name, value)
        status = main(["fit", str(root), "--workers", "0", "--json"])
        err = capsys.readouterr().err
        assert status in (0, 2), (group, name, value)
        if status == 2:
            # Without `imported` or `complete`, imported keypoints are none.
            damaged = f"expected to read the group `{group}`, but it is damaged"
            assert f"`{name}`" in err or damaged in " ".join(err.split()) or value is MISSING, (group, name, value)
            assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize("rate", [0, -30, "x", MISSING])
def test_a_wrong_rate_is_never_fitted_with(session, tmp_path, capsys, rate):
    root = Path(shutil.copytree(session, tmp_path / "s"))
    edit(root / "session.zarr", "keypoints", "fps", rate)
    assert main(["fit", str(root), "--workers", "0", "--json"]) == 2
    assert ("are not those that were written" if rate is MISSING else "attribute `fps`") in capsys.readouterr().err


@pytest.mark.parametrize("name", ["fps", "hand_model", "complete", "fingerprint"])
def test_edited_motion_is_not_exported(session, tmp_path, capsys, name):
    root = Path(shutil.copytree(session, tmp_path / "s"))
    edit(root / "session.zarr", "mano", name, 0)
    assert main(["export", "csv", str(root), "--out", str(tmp_path / "out.csv")]) == 2
    assert f"`{name}`" in capsys.readouterr().err
    assert not (tmp_path / "out.csv").exists()


def test_chunks_that_are_not_the_groups_are_computed_again(tmp_path):
    """Half a group is continued in its own chunks; where its attribute says others, the units would not fit."""
    log = tmp_path / "log"
    store = Store(str(tmp_path / "s.zarr"))
    store.open()
    execute(store, log, chunk=4)
    expected = store.read("squares", "points")
    store.set_attrs("squares", complete=False, chunk_frames=10)
    assert execute(store, log, chunk=4)[0]
    np.testing.assert_array_equal(store.read("squares", "points"), expected)


def test_units_along_other_axes_are_a_sentence(tmp_path):
    store = Store(str(tmp_path / "s.zarr"))
    store.open()
    execute(store, tmp_path / "log", chunk=4)
    points = {"points": np.zeros((4, 2, 21, 3), np.float32)}
    for axes in (["view"], ["frame", "view"]):
        store.set_attrs("squares", unit_dims=axes)
        with pytest.raises(StoreError, match="expected in the attribute `unit_dims` the axes along which"):
            store.write("squares", (0,), points)


def test_every_rule_says_what_it_expects():
    assert all(expected and not holds(object()) for holds, expected in RULES.values())
