"""Files of a session that are not used are named; clips of every common suffix are used."""

from __future__ import annotations

import shutil
import unicodedata
from dataclasses import replace

import pytest
from clips import write

from handpipe.capture.session import read_session
from handpipe.capture.settings import CaptureSettings
from handpipe.capture.video import CLIP_SUFFIXES, find_clips, probe
from handpipe.cli import main
from handpipe.core.cameras_file import write_cameras
from handpipe.core.errors import VideoError
from handpipe.rendering.rig import dome_rig

OPTIONS = CaptureSettings()


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write(tmp_path_factory.mktemp("clip") / "clip.mp4", frames=3)


@pytest.fixture
def root(tmp_path, clip):
    for folder in ("videos", "calibration"):
        (tmp_path / "s" / folder).mkdir(parents=True)
        for view in ("left", "right"):
            shutil.copy(clip, tmp_path / "s" / folder / f"{view}.mp4")
    return tmp_path / "s"


def test_a_sound_session_is_passed_over_in_silence(root):
    (root / "session.yaml").write_text("fps: 30\n")
    for name in ("cameras.toml", "cameras.before-import.toml", "README.md", "notes.txt", "participants.csv"):
        (root / name).touch()
    for name in ("session.zarr", "truth.zarr", "export"):
        (root / name).mkdir()
    (root / "videos" / ".DS_Store").touch()
    (root / "videos" / "thumb.jpg").touch()
    session = read_session(root, OPTIONS)
    assert (session.ignored, session.warnings) == ((), ())


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("session.yml", "save it as {root}/session.yaml"),
        ("Session.yaml", "save it as {root}/session.yaml"),
        ("session.yaml.txt", "save it as {root}/session.yaml"),
        ("settings.json", "save it as {root}/session.yaml"),
        ("pipeline.yaml", "save it as {root}/session.yaml"),
        ("Timestamps.csv", "save it as {root}/timestamps.csv"),
        ("timestamps.txt", "save it as {root}/timestamps.csv"),
        ("time_stamps.tsv", "save it as {root}/timestamps.csv"),
        ("frame_time_history.csv", "save it as {root}/timestamps.csv"),
        ("videos/timestamps.csv", "save it as {root}/timestamps.csv"),
        ("calibration/Timestamps.csv", "save it as {root}/calibration/timestamps.csv"),
        ("camera.toml", "save it as {root}/cameras.toml"),
        ("cameras.yaml", "save it as {root}/cameras.toml"),
        ("Cameras.TOML", "save it as {root}/cameras.toml"),
        ("calibration/cameras.toml", "save it as {root}/cameras.toml"),
        ("videos/top.lrv", "Convert it to .mp4"),
        ("calibration/top.MJPEG", "Convert it to .mp4"),
        ("videos/top.h264", "Convert it to .mp4"),
        ("top.mp4", "Move it to `videos`"),
        ("Videos/top.mp4", "Rename it to `videos`"),
        ("calib/top.mp4", "Rename it to `calibration`"),
        ("videos/cam_3/GX010001.MP4", "Move them to `videos`"),
    ],
)
def test_what_looks_like_a_part_of_the_session_is_named(root, name, advice):
    path = root / name
    path.parent.mkdir(exist_ok=True)
    path.touch()
    (sentence,) = read_session(root, OPTIONS).ignored
    assert sentence.startswith(
        str(path) if path.parent in (root, root / "videos", root / "calibration") else str(path.parent)
    )
    assert advice.format(root=root) in sentence


@pytest.mark.parametrize("suffix", [".m4v", ".MTS", ".wmv", ".mpg", ".ts", ".AVI"])
def test_clips_of_other_suffixes_are_clips(root, suffix):
    (root / "videos" / "left.mp4").rename(root / "videos" / f"left{suffix}")
    session = read_session(root, OPTIONS)
    assert session.views == ("left", "right")
    assert session.ignored == ()


def test_a_clip_of_another_suffix_that_is_no_video_is_an_error(root):
    (root / "videos" / "top.ts").write_text("export const a = 1;\n")
    with pytest.raises(VideoError, match=r"top\.ts: expected a video that can be decoded, but found a text file"):
        read_session(root, OPTIONS)


@pytest.mark.parametrize("suffix", [s for s in CLIP_SUFFIXES if s not in (".mp4", ".mov", ".avi", ".mkv", ".webm")])
def test_the_converted_clip_is_used_and_the_original_is_named(root, clip, suffix):
    shutil.copy(clip, root / "videos" / f"left{suffix}")
    session = read_session(root, OPTIONS)
    assert session.clips[0].path.name == "left.mp4"
    (sentence,) = session.ignored
    assert f"left{suffix}: this file is not read, because left.mp4 is the clip of this view" in sentence


def test_names_in_either_unicode_form_are_one_view(root):
    composed, parts = (unicodedata.normalize(form, "caméra") for form in ("NFC", "NFD"))
    (root / "videos" / "left.mp4").rename(root / "videos" / f"{parts}.mp4")
    (root / "calibration" / "left.mp4").rename(root / "calibration" / f"{composed}.mp4")
    rows = [f"{n},{cam},{n},{n / 30}" for n in range(3) for cam in (parts, "right")]
    (root / "timestamps.csv").write_text("sync_index,cam_id,frame_index,frame_time\n" + "\n".join(rows))
    session = read_session(root, OPTIONS)
    assert session.views == (composed, "right")
    assert list(session.board_clips) == [composed, "right"]
    assert session.timeline.frames == 3
    shutil.copy(root / "videos" / "right.mp4", root / "videos" / f"{composed}.mp4")
    with pytest.raises(VideoError, match="expected one clip per view"):
        find_clips(root / "videos")


def test_names_equal_but_for_case_are_matched_and_said(root):
    (root / "calibration" / "left.mp4").rename(root / "calibration" / "Left.mp4")
    rows = [f"{n},{cam},{n},{n / 30}" for n in range(3) for cam in ("left", "RIGHT")]
    (root / "timestamps.csv").write_text("sync_index,cam_id,frame_index,frame_time\n" + "\n".join(rows))
    session = read_session(root, OPTIONS)
    assert list(session.board_clips) == ["left", "right"]
    assert [sentence.split(": ")[1] for sentence in session.warnings] == [
        "the camera RIGHT is taken for the view right. Give both the same name.",
        "the board clip Left is used for the view left. Give both the same name.",
    ]


def test_two_views_whose_names_differ_in_case_are_said(root):
    shutil.copy(root / "videos" / "left.mp4", root / "videos" / "LEFT.mp4")
    session = read_session(root, OPTIONS)
    assert len(session.views) == 3
    assert "are two views, because their names differ in case" in session.warnings[0]


def test_a_run_says_which_cameras_it_does_not_use(root, clip, capsys):
    rig = dome_rig(3, probe(clip).size_px)
    write_cameras(root / "cameras.toml", replace(rig, names=("LEFT", "right", "top")))
    assert main(["calibrate", str(root), "--workers", "0"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "warning: " + f"{root}/cameras.toml: the camera top has no clip and is not used" in said
    assert "the camera LEFT is taken for the view left" in said
