"""Lenses from clips of their own: `intrinsics/<view>.mp4`."""

from __future__ import annotations

import shutil

import cv2
import numpy as np
from calibration_scenes import BOARD, arc_rig, center_errors_m, close_boards, waved_board

from handpipe.calibration.calibrate import calibrate
from handpipe.calibration.own_clips import OWN_FRAMES, choose_own, own_frames
from handpipe.cli import main
from handpipe.core.storage.store import Store


def test_a_board_that_is_small_in_the_shared_volume_is_helped_by_close_ones():
    rng = np.random.default_rng(3)
    rig = arc_rig(5, rng)
    shared_px, own_px = waved_board(rig, 50, rng, reach_m=0.06), close_boards(rig, 50, rng)
    chosen, poor = choose_own(BOARD, own_px, rig.names, rig.names, rig.size_px)
    assert poor == {}
    assert chosen.shape[1] == OWN_FRAMES
    without = calibrate(BOARD, shared_px, rig.names, rig.size_px)
    found = calibrate(BOARD, shared_px, rig.names, rig.size_px, own_px=chosen)
    assert found.T_world_board.shape == without.T_world_board.shape
    assert found.residual_px.shape == without.residual_px.shape
    wrong_px = [np.abs(each.cameras.K - rig.K)[:, :2].max((1, 2)) for each in (without, found)]
    assert np.median(wrong_px[1]) < 0.5 * np.median(wrong_px[0])
    wrong_m = [np.median(center_errors_m(each.cameras, rig)) for each in (without, found)]
    assert wrong_m[1] < 0.6 * wrong_m[0]
    # Only some cameras have such a clip.
    chosen[1:] = np.nan
    one = calibrate(BOARD, shared_px, rig.names, rig.size_px, own_px=chosen)
    assert np.abs(one.cameras.K - rig.K)[0, :2].max() < 0.5 * wrong_px[0][0]


def test_own_sightings_that_tell_no_pose_do_no_harm():
    rng = np.random.default_rng(4)
    rig = arc_rig(5, rng)
    shared_px, own_px = waved_board(rig, 40, rng), close_boards(rig, 20, rng)
    good = calibrate(BOARD, shared_px, rig.names, rig.size_px, own_px=own_px)
    sparse = np.concatenate([own_px, own_px[:, :2]], axis=1)
    sparse[:, 20, 3:] = np.nan  # three corners
    sparse[:, 21, BOARD.columns - 1 :] = np.nan  # one line
    found = calibrate(BOARD, shared_px, rig.names, rig.size_px, own_px=sparse)
    np.testing.assert_allclose(found.cameras.K, good.cameras.K, rtol=1e-4)


def test_clips_with_few_boards_are_told_and_not_used():
    own_px = np.full((2, 30, 24, 2), np.nan)
    own_px[1, :9] = np.random.default_rng(0).uniform(0, 400, (9, 24, 2))
    chosen, poor = choose_own(BOARD, own_px, ("c3", "c1"), ("c0", "c1"), np.tile([640, 480], (2, 1)))
    assert poor == {"c3": 0, "c1": 9}
    assert np.isnan(chosen).all()
    assert own_frames(chosen).shape == (2, 0, 24, 2)


def test_clips_in_a_session(tiny, capsys):
    def run(*flags: str) -> tuple[int, str]:
        status = main(["calibrate", str(tiny), "--workers", "0", *flags])
        return status, capsys.readouterr().err

    assert run()[0] == 0
    store = Store(str(tiny / "session.zarr"))
    assert not store.complete("intrinsics")
    assert "intrinsics" not in (store.fingerprint("cameras") or {})["inputs"]
    before = np.asarray(store.read("cameras", "K"))

    folder = tiny / "intrinsics"
    folder.mkdir()
    clip = next((tiny / "calibration").glob("c1.*"))
    shutil.copy(clip, folder / clip.name)
    shutil.copy(clip, folder / f"stranger{clip.suffix}")
    _gray(folder / "c2.mp4", clip)
    (folder / "c0.mp4").write_bytes(b"no clip")
    (folder / "c3.braw").write_bytes(b"no clip")
    status, err = run()
    assert status == 0
    assert "there is no view stranger" in err
    assert "the lens of c0 is estimated without its clip in intrinsics: " in err
    assert "the lens of c2 is estimated without its clip in intrinsics, which shows the board in 0 frames" in err
    assert "c3.braw: this file is not read as a clip" in err
    assert store.labels("intrinsics", "view") == ("c1", "c2")
    corners = store.read("intrinsics", "corners")
    np.testing.assert_array_equal(corners[0, : len(corners[0])], store.read("board", "corners")[1])
    assert "intrinsics" in (store.fingerprint("cameras") or {})["inputs"]
    after = store.read("cameras", "K")
    assert (before[1] != after[1]).any()
    np.testing.assert_allclose(after, before, atol=5)


def _gray(path, like) -> None:
    capture = cv2.VideoCapture(str(like))
    image = capture.read()[1]
    assert image is not None
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 30, (image.shape[1], image.shape[0]))
    for _ in range(20):
        writer.write(image * 0 + 128)
    writer.release()
