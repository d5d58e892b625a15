"""`handpipe calibrate` on filmed clips: what it stores, and what it does not let through."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from handpipe.calibration.settings import CalibrationSettings
from handpipe.calibration.stage import CAMERAS_CODE, cameras_plan
from handpipe.capture.session import read_session
from handpipe.capture.settings import CaptureSettings
from handpipe.capture.video import find_clips, read_frames
from handpipe.cli import main
from handpipe.core.settings import Board
from handpipe.core.storage.store import Store


def calibrate(session, *flags: str) -> int:
    return main(["calibrate", str(session), "--workers", "0", *flags])


def test_the_gate_stops_warns_or_passes(tiny, capsys):
    limit = ("--calibration.max-distance-mm", "0.001")
    assert calibrate(tiny, *limit) == 2
    assert "expected distances between held-out corners within 0.001 mm" in capsys.readouterr().err
    assert not Store(str(tiny / "session.zarr")).complete("cameras")
    assert calibrate(tiny, *limit, "--calibration.outside-limits", "warn") == 0
    assert "warning: calibration: expected distances" in capsys.readouterr().err
    assert calibrate(tiny) == 0
    assert "warning" not in capsys.readouterr().err

    store = Store(str(tiny / "session.zarr"))
    attrs = store.attrs("cameras")
    assert attrs["warnings"] == []
    assert attrs["weak_views"] == []
    assert attrs["held_out_frames"] == 12
    assert 0 < attrs["held_out_mm"] < 0.3
    held_out = store.read("cameras", "held_out")
    assert np.sqrt((held_out**2).mean()) == pytest.approx(attrs["held_out_px"], rel=0.1)
    assert (store.read("cameras", "center_sigma") < 5e-3).all()
    assert (store.read("cameras", "rotation_sigma") < 5e-3).all()


def test_the_likely_right_board_is_named(tiny, capsys):
    assert calibrate(tiny, "--board.columns", "5", "--board.rows", "7") == 2
    assert "the board is found with columns: 7, rows: 5" in capsys.readouterr().err


def test_a_view_that_never_saw_the_board_and_a_mirrored_one_are_told_apart(tiny, capsys):
    clips = find_clips(tiny / "calibration")
    for view, change in (("c1", lambda image: image * 0 + 128), ("c2", lambda image: cv2.flip(image, 1))):
        _rewrite(clips[view], change)
    assert calibrate(tiny) == 2
    err = capsys.readouterr().err
    assert "c1: the board was found in 0 frames, at least 5 are needed" in err
    assert "c2: the board was found in 0 frames, at least 5 are needed; show it to this camera for longer; the c" in err
    assert "for longer; the clip is mirrored" in err


def test_the_solver_enters_the_fingerprint_only_where_it_is_not_the_default(tiny):
    """A store from before this setting stays valid."""
    session, store = read_session(tiny, CaptureSettings()), Store(str(tiny / "session.zarr"))
    ours, theirs = (
        cameras_plan(session, read_frames, Board(), CalibrationSettings(solver=solver), store, None, 0.0)
        for solver in ("handpipe", "aniposelib")
    )
    assert set(ours.group.fingerprint) == {"settings", "inputs", "code"}
    assert "solver" not in ours.group.fingerprint["settings"]
    assert ours.notice == ""
    assert theirs.group.fingerprint["settings"]["solver"] == "aniposelib"
    assert theirs.group.fingerprint["code"] == ours.group.fingerprint["code"] == CAMERAS_CODE
    assert theirs.group.fingerprint["aniposelib"].startswith("0.8")
    assert "solver" not in ours.group.attrs
    assert theirs.group.attrs["solver"].startswith("aniposelib 0.8")
    assert "one focal length" in theirs.notice


def _rewrite(path, change) -> None:
    capture = cv2.VideoCapture(str(path))
    images = []
    while (image := capture.read()[1]) is not None:
        images.append(change(image))
    fps = capture.get(cv2.CAP_PROP_FPS)
    capture.release()
    height, width = images[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, (width, height))
    for image in images:
        writer.write(image)
    writer.release()
