"""Views that contradict the others, as the command line tells of them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hand_scenes import detect, dome, interaction

from handpipe.cli import main
from handpipe.core.cameras_file import write_cameras

FRAMES = 16


def told(tmp_path, capsys, cameras, points, score, right):
    """Exit status, verdict, and what is said on the screen of a recording after `triangulate`."""
    root = tmp_path / "session"
    root.mkdir()
    write_cameras(root / "cameras.toml", cameras)
    arrays = {"points": points, "score": score, "right": right, "views": np.array(cameras.names)}
    np.savez(tmp_path / "hands.npz", **arrays)  # pyright: ignore[reportArgumentType]
    assert main(["import", "keypoints2d", str(root), str(tmp_path / "hands.npz"), "--fps", "30"]) == 0
    capsys.readouterr()
    status = main(["triangulate", str(root), "--workers", "0", "--json"])
    out, err = capsys.readouterr()
    return status, json.loads(out)["quality"]["verdict"], " ".join(err.split())


@pytest.fixture
def four():
    cameras = dome(4)
    points, score, right, _ = detect(cameras, interaction(FRAMES, 1))
    return cameras, points.astype(float), score, right


def test_two_cameras_under_each_others_name(tmp_path, capsys, four):
    cameras, points, score, right = four
    wrong = replace(cameras.subset([1, 0, 2, 3]), names=cameras.names)
    status, verdict, said = told(tmp_path, capsys, wrong, points, score, right)
    assert (status, verdict) == (3, "not usable")
    assert "Exchange the names view0 and view1 in cameras.toml" in said
    assert "Exchange the names view1 and view0 in cameras.toml" in said
    assert "2 of 4 do not" in said
