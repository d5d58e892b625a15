"""`handpipe render` on a small filmed session and on generated motion: what is drawn, and what cannot be."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np
import pytest
import zarr
from altered_stores import overwrite_array
from PIL import Image
from run_command import refusal, run_command
from stored_motions import clip, fitted, generated, without

from handpipe.cli import main
from handpipe.commands.pictures import Render
from handpipe.core.errors import ConfigError
from handpipe.core.storage.schema import read_cameras
from handpipe.core.storage.store import SCHEMA_VERSION, Store
from handpipe.reporting.shown_motion import chosen_frames

SMALL = ("--size", "240", "192")


@pytest.fixture
def session(computed, tmp_path):
    """A computed session to spoil."""
    return Path(shutil.copytree(computed, tmp_path / "tiny"))


@pytest.fixture(scope="module")
def motions(tmp_path_factory):
    """Generated motion: two samples of 12 frames."""
    return generated(tmp_path_factory.mktemp("generated") / "made.zarr", [clip(12, seed) for seed in (1, 2)])


def seen(path: Path) -> np.ndarray:
    image = cv2.imread(str(path))
    assert image is not None
    return image


class Decoded(NamedTuple):
    codec: tuple[str, str | None]
    fps: float
    size: tuple[int, int]
    images: list[np.ndarray]


def decoded(path: Path) -> Decoded:
    """Everything is read while the file is open: a stream of a closed one points to memory that is freed."""
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        images = [frame.to_ndarray(format="bgr24") for frame in file.decode(video=0)]
        codec = (stream.codec_context.name, stream.codec_context.pix_fmt)
        return Decoded(codec, float(stream.average_rate or 0), (stream.width, stream.height), images)


# ---- over footage ------------------------------------------------------------------------------------------------


def test_the_hands_are_drawn_where_they_are(computed, tmp_path):
    out = tmp_path / "beside.png"
    figures = run_command(Render, computed, out, "--views", "c2", "--frames", "3", "--beside", "--size", "480", "384")
    assert figures["views"] == ["c2"]
    image = seen(out).astype(int)
    plain, drawn = image[:384], image[388:]
    changed = np.abs(plain - drawn).max(axis=-1) > 12
    store = Store(str(computed / "session.zarr"))
    valid, joints = (store.read("mano", name)[3] for name in ("valid", "joints"))
    assert valid.all()
    uv = np.round(read_cameras(store).subset([2]).project(joints.astype(float))[0]).astype(int)
    for hand, expected in enumerate(([0, 159, 230], [233, 180, 86])):
        inside = uv[hand][((uv[hand] > 3) & (uv[hand] < [476, 380])).all(axis=1)]
        assert len(inside) > 12
        assert changed[inside[:, 1], inside[:, 0]].mean() > 0.8
        color = drawn[inside[:, 1], inside[:, 0]].mean(axis=0)
        assert color[0] < color[2] if expected[0] < expected[2] else color[0] > color[2]
    # Away from the hands the footage is as it was.
    far = np.ones(changed.shape, bool)
    x0, y0 = uv.reshape(-1, 2).min(axis=0) - 90
    x1, y1 = uv.reshape(-1, 2).max(axis=0) + 90
    far[max(0, y0) : y1, max(0, x0) : x1] = False
    assert far.any()
    assert not changed[far].any()


def test_a_clip_plays_in_browsers(computed, tmp_path):
    out = tmp_path / "clip.mp4"
    figures = run_command(Render, computed, out, "--view", "c1")
    made = decoded(out)
    store = Store(str(computed / "session.zarr"))
    frames = len(store.read("mano", "valid"))
    assert figures["frames"] == len(made.images) == frames
    assert made.codec == ("h264", "yuv420p")
    assert made.fps == pytest.approx(store.attrs("mano")["fps"])
    assert made.size == (480, 384)
    content = out.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat"), "it begins to play before all of it is there"


def test_several_views_make_a_grid(computed, tmp_path):
    out = tmp_path / "grid.mp4"
    figures = run_command(
        Render, computed, out, "--views", "c0", "c1", "c2", "c3", "--frames", "2-4", "--size", "480", "385"
    )
    assert figures["views"] == ["c0", "c1", "c2", "c3"]
    made = decoded(out)
    assert made.size == (480, 384)
    assert len(made.images) == 3
    assert all(tile.std() > 5 for half in np.split(made.images[0], 2) for tile in np.split(half, 2, axis=1))


def test_a_picture_has_a_row_for_each_view_and_a_column_for_each_moment(computed, tmp_path):
    out = tmp_path / "sheet.jpg"
    for crop in ("no", "hands", "left"):
        figures = run_command(Render, computed, out, "--views", "c1", "c4", "--frames", "1,3,5", "--crop", crop, *SMALL)
        assert figures["frames"] == 3
        image = seen(out)
        # Sides of a crop are whole pixels, so a picture of it is narrower by up to two.
        assert image.shape[0] - 4 in range(2 * 190, 2 * 192 + 1)
        assert image.shape[1] - 8 in range(3 * 238, 3 * 240 + 1)
    figures = run_command(Render, computed, out, "--moments", "2", *SMALL)
    assert figures["frames"] == 2
    assert len(figures["views"]) == 1


def test_forearms_hide_what_is_behind_them_and_opacity_shows_it(computed, tmp_path):
    pictures = {}
    for name, flags in {"hands": (), "arms": ("--arms",), "faint": ("--opacity", "0"), "skin": ("--skin",)}.items():
        run_command(
            Render, computed, tmp_path / "one.png", "--view", "c1", "--frames", "3", "--size", "480", "384", *flags
        )
        pictures[name] = seen(tmp_path / "one.png").astype(int)
    differs = {name: np.abs(image - pictures["faint"]).max(-1) > 20 for name, image in pictures.items()}
    assert differs["arms"].sum() > 1.1 * differs["hands"].sum()
    blue = [pictures[name][differs["hands"]][:, 0].mean() for name in ("hands", "skin")]
    assert blue[0] != pytest.approx(blue[1], abs=3)


def test_a_frame_without_an_image_says_so_and_a_damaged_clip_ends_in_a_warning(session, tmp_path):
    root = zarr.open_group(str(session / "session.zarr"), mode="r+", use_consolidated=False)
    source = root["clock/source_frame"]
    assert isinstance(source, zarr.Array)
    source[1, 2] = -1
    run_command(Render, session, tmp_path / "gap.png", "--view", "c1", "--frames", "1,2", *SMALL)
    gap = seen(tmp_path / "gap.png")[:, 244:]
    assert (np.abs(gap.astype(int) - 60).max(axis=-1) < 5).mean() > 0.8
    source[2, 6:] = 400
    figures = run_command(Render, session, tmp_path / "short.png", "--view", "c2", "--frames", "4-7", *SMALL)
    assert "damaged" in figures["warnings"][0]


# ---- without footage ---------------------------------------------------------------------------------------------


def test_generated_motion_turns_on_a_table(motions, tmp_path):
    out = tmp_path / "made.mp4"
    figures = run_command(Render, motions, out, "--sample", "1", *SMALL)
    assert figures["views"] == []
    images = decoded(out).images
    assert len(images) == 12
    orange, blue = (
        np.array([[image[..., a].astype(int) - image[..., b] for image in images]]) for a, b in ((2, 0), (0, 2))
    )
    assert ((orange > 40).sum(axis=(2, 3)) > 100).all(), "the left hand is in every picture"
    assert ((blue > 30).sum(axis=(2, 3)) > 60).all(), "the right hand, too"
    run_command(Render, motions, tmp_path / "other.png", "--sample", "0", "--moments", "4", *SMALL)
    run_command(Render, motions, tmp_path / "same.png", "--sample", "1", "--moments", "4", *SMALL)
    a, b = (seen(tmp_path / name).astype(int) for name in ("other.png", "same.png"))
    assert a.shape == (192, 4 * 244 - 4, 3)
    assert np.abs(a - b).max() > 50


def test_keyframes_are_marked(motions, tmp_path):
    made = Path(shutil.copytree(motions, tmp_path / "made.zarr"))
    root = zarr.open_group(str(made), mode="r+", use_consolidated=False)
    pose = np.full((12, 2, 45), np.nan, np.float32)
    pose[[0, 7]] = 0
    group = root.create_group("controls", attributes={"complete": True})
    group.create_array("hand_pose", data=pose)
    figures = run_command(Render, made, tmp_path / "keys.png", "--moments", "3", *SMALL)
    assert figures["keyframes"] == [0, 7]
    image = seen(tmp_path / "keys.png").astype(int)
    edges = [image[96, k * 244] for k in range(3)]
    amber = [bool(np.abs(edge - [40, 170, 255]).max() < 10) for edge in edges]
    assert amber == [True, True, False]


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_animations_move(motions, tmp_path, suffix):
    out = tmp_path / f"made{suffix}"
    run_command(Render, motions, out, "--frames", "0-5", *SMALL)
    with Image.open(out) as image:
        assert getattr(image, "n_frames", 1) == 6
        assert image.size == (240, 192)


def test_a_session_turns_too_and_stands_upright(computed, tmp_path):
    """Seen from the side, what is up in the rig is up in the picture."""
    run_command(Render, computed, tmp_path / "t.png", "--turntable", "--frames", "3", "--elevation", "0", *SMALL)
    image = seen(tmp_path / "t.png").astype(int)
    assert (np.abs(image[..., 2] - image[..., 0]) > 60).sum() > 300


def test_one_hand_alone(tmp_path):
    session = fitted(tmp_path / "one", without(clip(6), 0, slice(0, 6)))
    figures = run_command(Render, session, tmp_path / "one.png", "--turntable", "--moments", "2", *SMALL)
    assert figures["frames"] == 2


def test_the_command_line_takes_the_same_words(motions, tmp_path, capsys):
    out = tmp_path / "made.png"
    assert main(["render", str(motions), str(out), "--moments", "2", *SMALL, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["frames"] == 2
    assert main(["render", str(motions), str(tmp_path), "--view", "c1"]) == 2
    assert "found a folder" in capsys.readouterr().err


# ---- what cannot be rendered -------------------------------------------------------------------------------------


def test_what_is_missing_is_named_with_its_command(session, tmp_path):
    out, store = tmp_path / "x.mp4", Store(str(session / "session.zarr"))
    shutil.rmtree(session / "videos")
    assert "the clip of the view c1" in refusal(Render, session, out, "--view", "c1")
    for group, command in (("clock", ""), ("timeline", "detect"), ("cameras", "calibrate"), ("mano", "fit")):
        store.remove(group)
        if command:
            assert f"handpipe {command} {session}" in refusal(Render, session, out, "--view", "c1")
    (tmp_path / "empty").mkdir()
    assert "handpipe run" in refusal(Render, tmp_path / "empty", out)
    assert "there is no such folder" in refusal(Render, tmp_path / "nothing", out)
    assert not out.exists()


def test_no_hand_in_any_frame(session, tmp_path):
    overwrite_array(session / "session.zarr", "mano/valid", False)
    assert "handpipe report" in refusal(Render, session, tmp_path / "x.mp4")


def test_a_newer_store_is_refused(session, motions, tmp_path):
    made = Path(shutil.copytree(motions, tmp_path / "made.zarr"))
    for store, source in ((session / "session.zarr", session), (made, made)):
        root = zarr.open_group(str(store), mode="r+", use_consolidated=False)
        root.update_attributes({"schema_version": SCHEMA_VERSION + 1})
        assert "Update handpipe" in refusal(Render, source, tmp_path / "x.mp4")


def test_wrong_words_are_refused(computed, motions, tmp_path):
    out = tmp_path / "x.mp4"
    assert "found nobody" in refusal(Render, computed, out, "--views", "c1", "nobody")
    assert "found .avi" in refusal(Render, computed, tmp_path / "x.avi")
    assert "found a folder" in refusal(Render, computed, tmp_path)
    assert "store with motion alone" in refusal(Render, motions, out, "--view", "c1")
    assert "0 to 1" in refusal(Render, motions, out, "--sample", "2")
    assert "no --views" in refusal(Render, computed, out, "--views", "c1", "--turntable")
    assert "--opacity" in refusal(Render, computed, out, "--opacity", "2")
    assert "from 0 to 7" in refusal(Render, computed, out, "--frames", "3-8")


def test_hands_of_another_model_are_not_drawn_with_this_one(tmp_path):
    session = fitted(tmp_path / "other", clip(4), ids=["mano-x", "mano-y"])
    assert "--hand-model" in refusal(Render, session, tmp_path / "x.mp4", "--turntable")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_without_permission(motions, tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    assert "Permission denied" in refusal(Render, motions, folder / "x.mp4", *SMALL)


def test_a_failed_clip_leaves_the_old_one(motions, tmp_path, monkeypatch):
    out = tmp_path / "x.gif"
    out.write_bytes(b"old")

    def refuse(source, target):
        raise PermissionError(13, "Permission denied", str(target))

    monkeypatch.setattr("handpipe.core.storage.atomic.move", refuse)
    assert "Permission denied" in refusal(Render, motions, out, "--frames", "0-1", *SMALL)
    assert out.read_bytes() == b"old"


@pytest.mark.parametrize(
    ("text", "frames", "named"),
    [("", list(range(9)), False), ("2-4", [2, 3, 4], False), ("5", [5], True), ("7, 1-2", [1, 2, 7], True)],
)
def test_frames_are_chosen(text, frames, named):
    found, one_by_one = chosen_frames(text, 9)
    assert (found.tolist(), one_by_one) == (frames, named)


@pytest.mark.parametrize("text", ["4-2", "9", "a", "-3", "1--2", "1,,2"])
def test_frames_that_are_none(text):
    with pytest.raises(ConfigError, match="--frames"):
        chosen_frames(text, 9)
