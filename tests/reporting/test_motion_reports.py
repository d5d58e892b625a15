"""`handpipe report` of generated motion and of a training."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from stored_motions import clip, fitted, generated

from handpipe.cli import main
from handpipe.generation import checkpoint
from handpipe.generation.settings import TrainingSettings
from handpipe.generation.training.run import train
from handpipe.hand.stored_motion import motion_store, stored_motion
from handpipe.reporting.generated import motion_figures, read_motions, side_by_side
from handpipe.reporting.training import read_curves
from handpipe.screen import Screen

STEPS = 3


def data_of(page: str) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


@pytest.fixture
def made(tmp_path):
    """Two samples, the second the first played twice as fast."""
    slow = clip(24, fps=30.0)
    return generated(tmp_path / "made.zarr", [slow, {**slow, "joints": 2 * slow["joints"]}])


def test_generated_motion_beside_real_motion(made, tmp_path, capsys):
    real = fitted(tmp_path / "real", clip(60, seed=5))
    assert main(["report", str(made), "--reference", str(real), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    page = (tmp_path / "made.html").read_text()
    data = data_of(page)
    assert [each["name"] for each in data["player"]["labels"]] == ["sample 0", "sample 1", "real"]
    assert len(data["player"]["hands"]) == 6
    assert set(data["charts"]) == {"speed", "jerk", "wrists"}
    assert figures["speed_mean"] > 0
    assert figures["speed_real"] > 0
    assert f"{figures['speed_mean'] / figures['speed_real']:.2f} times" in page


def test_figures_are_derivatives_of_the_joints(made):
    motions = read_motions(stored_motion(str(made), motion_store(str(made))))
    assert motions is not None
    _, measured = motion_figures(motions, None, None)
    slow, fast = (np.linalg.norm(np.diff(each, axis=0), axis=-1).mean() * 30 for each in motions.joints_m)
    assert fast == pytest.approx(2 * slow)
    assert measured["speed_mean"] == pytest.approx((slow + fast) / 2)


def test_a_missed_wrist_position_is_bad(made):
    motions = read_motions(stored_motion(str(made), motion_store(str(made))))
    assert motions is not None
    given = np.full((24, 2, 3), np.nan)
    given[5, 0] = motions.joints_m[0, 5, 0, 0] + [0, 0, 0.002]
    figures, measured = motion_figures(motions, None, given)
    assert measured["control_error_mm"] >= 2
    assert figures[-1].mark == "bad"


def test_only_whole_stretches_of_valid_frames_are_taken(tmp_path):
    arrays = clip(50)
    arrays["valid"][20] = False
    real = fitted(tmp_path / "real", arrays)
    motion = stored_motion("real", motion_store(str(real)))
    found = read_motions(motion, 12)
    assert found is not None
    np.testing.assert_allclose(found.joints_m[:, 0], arrays["joints"][[0, 21, 33]], rtol=1e-6)
    assert read_motions(motion, 30) is None


def test_pairs_of_hands_do_not_overlap(made):
    motions = read_motions(stored_motion(str(made), motion_store(str(made))))
    assert motions is not None
    data = side_by_side(motions, None, None, "")
    places = np.array([each["center"] for each in data["labels"]])
    assert np.linalg.norm(places[0] - places[1]) > 0.1


def test_a_reference_that_is_too_short_or_none_is_refused(made, tmp_path, capsys):
    short = fitted(tmp_path / "short", clip(10))
    assert main(["report", str(made), "--reference", str(short)]) == 2
    assert "--reference" in capsys.readouterr().err
    assert main(["report", str(short), "--reference", str(short)]) == 2
    assert "expected generated motion" in capsys.readouterr().err
    assert not (tmp_path / "made.html").exists()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training") / "model"
    settings = TrainingSettings(steps=STEPS, batch=2, log_every=1, held_out=("procedural:1",))
    train(("procedural:2",), settings, None, folder, Screen())
    return folder


def test_the_curves_of_a_training(trained, capsys):
    assert main(["report", str(trained), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["step"] == STEPS
    page = (trained / "report.html").read_text()
    charts = data_of(page)["charts"]
    curves = read_curves(trained)
    assert {f"loss-{name.split('/')[1]}" for name in curves if name.startswith("train/")} == set(charts)
    values = charts["loss-x0"]["spec"]["data"]["values"]
    steps = [each["step"] for each in values if each["series"] == "train"]
    assert steps == list(range(1, STEPS + 1))
    assert {each["series"] for each in values} == {"train", "held out"}
    checkpoint.load(trained)  # the report is no part of the checkpoint, and does not disturb it
