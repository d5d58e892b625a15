"""The group `quality`: what a triangulated session says of itself, and what the commands make of it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hand_scenes import detect, dome, interaction
from stored_detections import triangulated
from toy_stage import Quiet

from handpipe.cli import main
from handpipe.core.cameras_file import write_cameras
from handpipe.core.engine import Engine
from handpipe.core.quality import Check, as_attributes, from_attributes, verdict
from handpipe.core.settings import EngineSettings
from handpipe.core.storage.store import Store
from handpipe.fitting.checks import fit_checks
from handpipe.triangulation.quality.checks import fast_steps, frames_together
from handpipe.triangulation.quality.references import grouped
from handpipe.triangulation.quality.rig_hypotheses import explain_rig
from handpipe.triangulation.quality.stage import quality_plan
from handpipe.triangulation.quality.views import judge_views

FRAMES = 12


def judged(tmp_path, cameras, points, score, right) -> dict[str, Check]:
    """The checks that are not good, by name and view."""
    return by_name(judged_store(tmp_path, cameras, points, score, right))


def judged_store(tmp_path, cameras, points, score, right) -> Store:
    store = triangulated(tmp_path, cameras, points, score, right)
    with Engine(EngineSettings(workers=0), Quiet()) as engine:
        engine.execute(store, lambda chunk: quality_plan(store, store, "session", chunk))
    return store


def by_name(store: Store) -> dict[str, Check]:
    checks = from_attributes({"checks": store.attrs("quality")["keypoint_checks"]})
    return {f"{check.name} {check.view}".strip(): check for check in checks if check.severity != "ok"}


def recording(views: int = 4):
    cameras, hands = dome(views), interaction(FRAMES, 1)
    points, score, right, _ = detect(cameras, hands)
    return cameras, points.astype(float), score, right


def test_a_sound_session_is_good(tmp_path):
    assert judged(tmp_path, *recording()) == {}


def test_no_hands_in_the_images(tmp_path):
    cameras, points, score, right = recording()
    found = judged(tmp_path, cameras, np.full_like(points, np.nan), np.zeros_like(score), np.full_like(right, np.nan))
    assert found["hands in the images"].severity == "error"


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("half-size images", "images of 0.5 times the calibrated size"),
        ("millimetres", "the calibration is in millimetres"),
    ],
)
def test_hands_in_the_images_but_not_in_space_are_explained(tmp_path, fault, says):
    cameras, points, score, right = recording()
    match fault:
        case "half-size images":
            points = 0.5 * (points + 0.5) - 0.5
        case "millimetres":
            T = cameras.T_cam_world.copy()
            T[:, :3, 3] *= 1000
            cameras = replace(cameras, T_cam_world=T)
    found = judged(tmp_path, cameras, points, score, right)
    assert found["hands in space"].severity == "error"
    assert says in found["hands in space"].reason
    assert found["hands in space"].remedy


def test_exchanged_cameras_are_found_although_no_view_is_left_to_judge_by():
    """Three cameras, two of them exchanged: no two views agree in all frames."""
    cameras, hands = dome(3), interaction(FRAMES, 1)
    points, score, right, _ = detect(cameras, hands, noise_px=1.0)
    # The third sees nothing: the two exchanged ones are all there is.
    points[2], score[2] = np.nan, 0.0
    wrong = replace(cameras.subset([1, 0, 2]), names=cameras.names)
    found = explain_rig(wrong, points.astype(float), score, right)
    assert found is not None
    assert (found.what.kind, found.pair) == ("exchanged", ("view0", "view1"))
    assert explain_rig(cameras, points.astype(float), score, right) is None, "nothing to explain"
    judged = judge_views(wrong, grouped(wrong, points.astype(float), score, right), 30.0)
    assert {name: each and each.other for name, each in judged.explained.items()} == {
        "view0": "view1",
        "view1": "view0",
    }


def test_two_exchanged_names_in_a_file_are_no_other_order():
    """The names then sort otherwise than the cameras, which two exchanged views explain as well."""
    cameras, hands = dome(4), interaction(24, 1)
    points, score, right, _ = detect(cameras, hands, noise_px=1.0)
    order = [1, 0, 2, 3]
    wrong = replace(cameras, names=tuple(cameras.names[i] for i in order))
    points = points.astype(float)[order]
    judged = judge_views(wrong, grouped(wrong, points, score[order], right[order]), 30.0)
    assert judged.whole is None
    assert {name: each and each.other for name, each in judged.explained.items()} == {
        "view0": "view1",
        "view1": "view0",
    }


def test_the_group_is_written_once_and_read_back(tmp_path):
    cameras, points, score, right = recording()
    points[1, ..., 0] = 639 - points[1, ..., 0]
    store = triangulated(tmp_path, cameras, points, score, right)
    with Engine(EngineSettings(workers=0), Quiet()) as engine:
        assert engine.execute(store, lambda chunk: quality_plan(store, store, "session", chunk))
        assert not engine.execute(store, lambda chunk: quality_plan(store, store, "session", chunk))
    share = store.read("quality", "share")
    assert share[1] < 0.2
    assert np.delete(share, 1).min() > 0.9
    checks = from_attributes({"checks": store.attrs("quality")["keypoint_checks"]})
    (warning,) = [check for check in checks if check.severity == "warning"]
    assert (warning.view, "images mirrored" in warning.reason) == ("view1", True)
    assert from_attributes(as_attributes(checks)) == checks


def test_the_verdict_is_that_of_the_worst_check():
    ok, warning, error = (Check("name", severity) for severity in ("ok", "warning", "error"))
    assert verdict([]) == verdict([ok]) == "good"
    assert verdict([ok, warning]) == "usable with warnings"
    assert verdict([warning, error, ok]) == "not usable"


def test_wrists_that_jump_and_hands_in_one_place():
    hands = interaction(FRAMES)
    assert fast_steps(hands, 30.0) == 0
    hands[6, 0] += 1.0
    assert fast_steps(hands, 30.0) == pytest.approx(2 / (2 * (FRAMES - 1)))
    assert frames_together(hands) == 0
    hands[:, 1] = hands[:, 0] + 0.001
    assert frames_together(hands) == 1


def test_a_fit_without_hands_or_far_from_its_keypoints():
    valid, residual = np.ones((4, 2), bool), np.full((4, 2), 0.004)
    assert verdict(fit_checks(valid, residual)) == "good"
    assert verdict(fit_checks(valid, residual + 0.02)) == "usable with warnings"
    assert verdict(fit_checks(valid, residual + 0.05)) == "not usable"
    assert verdict(fit_checks(~valid, residual)) == "not usable"
    valid[1:] = False
    assert verdict(fit_checks(valid, residual)) == "usable with warnings"


def test_results_that_cannot_be_used_are_not_handed_on_unless_accepted(tmp_path, capsys):
    cameras, points, score, right = recording()
    points = 0.5 * (points + 0.5) - 0.5
    store = judged_store(tmp_path, cameras, points, score, right)
    checks = from_attributes({"checks": store.attrs("quality")["keypoint_checks"]})
    store.set_attrs("quality", **as_attributes(checks))
    export = ["export", "keypoints3d", store.url, "--out", str(tmp_path / "out")]
    assert main(export) == 2
    assert "verdict is 'not usable': expected a 3D hand" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    # Accepted, it is taken as it is: this one was never fitted, which is another matter.
    assert main([*export, "--accept"]) == 2
    assert "expected fitted hands" in capsys.readouterr().err


def test_run_ends_with_3_and_says_why(tmp_path, capsys):
    """Detections of half-size images, as from a detector that ran on a smaller copy of the clips."""
    cameras, points, score, right = recording()
    root = tmp_path / "session"
    root.mkdir()
    write_cameras(root / "cameras.toml", cameras)
    half = {"points": 0.5 * points, "score": score, "right": right, "views": np.array(cameras.names)}
    np.savez(tmp_path / "half.npz", **half)  # pyright: ignore[reportArgumentType]
    assert main(["import", "keypoints2d", str(root), str(tmp_path / "half.npz"), "--fps", "30"]) == 0
    assert main(["run", str(root), "--workers", "0", "--json"]) == 3
    out, err = capsys.readouterr()
    quality = json.loads(out[out.index("{") :])["quality"]
    assert quality["verdict"] == "not usable"
    assert {check["name"] for check in quality["checks"]} == {"hands in space", "fitted hands"}
    assert "images of 0.5 times the calibrated size" in " ".join(err.split())
