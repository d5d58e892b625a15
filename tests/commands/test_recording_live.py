"""Guidance and the page while `handpipe record --calibration` films the board."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from calibration_scenes import BOARD, arc_rig
from recorded import record, rig_of_clips, rig_of_emulated
from rich.console import Console
from scipy.spatial.transform import Rotation

from handpipe.calibration.board import corner_positions
from handpipe.calibration.settings import CalibrationSettings
from handpipe.commands import recording_live
from handpipe.commands.recording_live import Guide
from handpipe.commands.recording_screen import LiveTable
from handpipe.core.errors import ConfigError
from handpipe.screen import Screen

SCALE_PX = 60
"""Of a square, in the picture of the board."""


def board_picture():
    dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, BOARD.dictionary))
    board = cv2.aruco.CharucoBoard((BOARD.columns, BOARD.rows), BOARD.square_m, BOARD.marker_m, dictionary)
    return board.generateImage((BOARD.columns * SCALE_PX, BOARD.rows * SCALE_PX))


def filmed_board(frames):
    """Images by view, of each frame: a board that is held at different places, by pinholes without distortion."""
    rng = np.random.default_rng(8)
    rig, picture = arc_rig(3, rng), board_picture()
    outline = np.array([[0, 0], [BOARD.columns, 0], [BOARD.columns, BOARD.rows], [0, BOARD.rows]], np.float32)
    middle_m = corner_positions(BOARD).mean(0)
    for _ in range(frames):
        R, t = Rotation.from_rotvec(rng.normal(0, 0.3, 3)).as_matrix(), rng.uniform(-0.12, 0.12, 3)
        points_m = (np.c_[outline, np.zeros(4)] * BOARD.square_m - middle_m) @ R.T + t
        images = {}
        for view, name in enumerate(rig.names):
            in_camera = points_m @ rig.T_cam_world[view, :3, :3].T + rig.T_cam_world[view, :3, 3]
            uv = (in_camera @ rig.K[view].T)[:, :2] / in_camera[:, 2:]
            H = cv2.getPerspectiveTransform(outline * SCALE_PX - 0.5, uv.astype(np.float32))
            images[name] = cv2.warpPerspective(picture, H, (640, 480), flags=cv2.INTER_AREA, borderValue=[128])
        yield images


def guide_of(names):
    return Guide(BOARD, dict.fromkeys(names, "gray"), np.array([[640, 480]] * len(names)), CalibrationSettings())


def test_a_board_that_is_filmed_is_enough_after_a_while():
    guide = guide_of(("c0", "c1", "c2"))
    first, *_, last = [guide(images) for images in filmed_board(24)]
    assert first["adds"]
    assert not first["passes"]
    assert len(first["seen"]) >= 2
    assert last["enough"], last
    assert last["calibrated"] == [True] * 3
    assert 0.1 < min(last["coverage"].values()) <= 1
    assert not guide({})["adds"]


def test_a_tone_and_the_advice_on_the_terminal():
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120, height=30)
    found = guide_of(("a", "b"))({})
    with LiveTable(Screen(console), "monday/calibration") as table:
        table.guided(found)
        assert "\x07" not in out.getvalue()
        table.guided(found | {"adds": True})
    assert "\x07" in out.getvalue()
    assert "Show the board to as many cameras as possible" in table._advice()


@pytest.mark.parametrize("backend", ["file", "pylon"])
def test_recording_the_board_tells_and_shows_while_it_films(tmp_path, monkeypatch, backend):
    said, pictures = [], []
    monkeypatch.setattr(LiveTable, "guided", lambda self, found: said.append(found))
    pictures_of = recording_live.Watching.pictures

    def told(self, found):
        pictures_of(self, found)
        pictures.append(found)
        if said:
            self.recording.stop.set()

    monkeypatch.setattr(recording_live.Watching, "pictures", told)
    rig = rig_of_emulated(2, duration_s=60.0) if backend == "pylon" else clips_of_the_board(tmp_path)
    figures = record(tmp_path, rig, calibration=True, page=True, page_address="127.0.0.1:0")
    assert figures["kind"] == "calibration"
    names = {"c0", "c1"} if backend == "pylon" else {"c0", "c1", "c2"}
    assert set(pictures[-1]) <= names
    assert set(said[0]["names"]) == names
    if backend == "file":
        assert len(said[0]["seen"]) >= 2


def clips_of_the_board(folder):
    """A rig of clips in which every picture of the board stays for a while."""
    writers = {}
    for images in filmed_board(6):
        for name, image in images.items():
            if name not in writers:
                fourcc = cv2.VideoWriter.fourcc(*"FFV1")
                writers[name] = cv2.VideoWriter(str(folder / f"{name}.avi"), fourcc, 10, (640, 480))
            for _ in range(100):
                writers[name].write(np.dstack([image] * 3))
    for writer in writers.values():
        writer.release()
    cameras = {name: {"source": str(folder / f"{name}.avi")} for name in writers}
    board = {"columns": BOARD.columns, "rows": BOARD.rows, "square_m": BOARD.square_m, "marker_m": BOARD.marker_m}
    return rig_of_clips(folder, rate=10.0, cameras=cameras, queue_mb=64.0, session={"board": board})


def test_an_address_that_is_none_is_said(tmp_path):
    with pytest.raises(ConfigError, match="expected ADDRESS:PORT"):
        record(tmp_path, rig_of_emulated(1), page=True, page_address="here")
