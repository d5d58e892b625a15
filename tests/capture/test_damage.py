"""Clips whose index is whole and whose pictures cannot be decoded from some frame on."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from functools import partial
from typing import Any

import av
import numpy as np
import pytest
from clips import overwrite
from toy_stage import Quiet

from handpipe.capture import detect as detect_stage
from handpipe.capture.damage import UntilDamage, decoded_rows
from handpipe.capture.detector import Candidates
from handpipe.capture.session import content_hashes, read_session
from handpipe.capture.settings import CaptureSettings, DetectionSettings
from handpipe.capture.video import DamagedClip, probe, read_frames
from handpipe.cli import main
from handpipe.core.cameras_file import write_cameras
from handpipe.core.engine import Engine
from handpipe.core.settings import EngineSettings
from handpipe.core.storage.schema import read_cameras
from handpipe.core.storage.store import Store

FRAMES = 24
SIZE = (128, 96)


def encode(path, codec="libx264", frames=FRAMES):
    """A real clip: a moving picture of which every frame depends on the one before."""
    with av.open(str(path), "w") as file:
        intra = codec == "mjpeg"
        stream: Any = file.add_stream(codec, rate=30, options={} if intra else {"g": "12", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuvj420p" if intra else "yuv420p"
        picture = np.random.default_rng(0).integers(0, 255, (SIZE[1], SIZE[0], 3), np.uint8).repeat(2, 0)[: SIZE[1]]
        for n in range(frames):
            image = av.VideoFrame.from_ndarray(np.ascontiguousarray(np.roll(picture // 4 + 8 * n, n, 1)), "bgr24")
            file.mux(stream.encode(image))
        file.mux(stream.encode())
    return path


class Bright:
    """Finds a hand at the brightness of an image."""

    def detect(self, image_bgr):
        points = np.full((1, 21, 2), image_bgr.mean(), np.float32)
        return Candidates(points, np.ones(1, np.float32), np.ones(1, np.float32))


@pytest.fixture
def root(tmp_path):
    videos = tmp_path / "s" / "videos"
    videos.mkdir(parents=True)
    encode(videos / "c1.mp4")
    for n in range(2, 5):
        shutil.copy(videos / "c1.mp4", videos / f"c{n}.mp4")
    return tmp_path / "s"


def detected(root, monkeypatch, chunk_frames=64, stop_after=None):
    """The store, and what reads the clips, after `detect`; killed after some units if asked."""
    monkeypatch.setattr(detect_stage, "make_detector", lambda options: Bright())
    session = read_session(root, CaptureSettings())
    store = Store(str(root / "session.zarr"))
    store.open()
    files = {f"videos/{clip.path.name}": clip.path for clip in session.clips}
    hashes = content_hashes(store, files)
    reader = UntilDamage(store, {path: hashes[name] for name, path in files.items()})
    plan = partial(detect_stage.plan, session, DetectionSettings(), hashes, views_of=reader.views)
    with Engine(EngineSettings(workers=0, chunk_frames=chunk_frames), Quiet()) as engine:
        if stop_after is not None:
            write, left = Store.write_blocks, iter(range(stop_after))
            monkeypatch.setattr(Store, "write_blocks", lambda *args: (next(left), write(*args)))
            with pytest.raises(StopIteration):
                engine.execute(store, plan)
            monkeypatch.setattr(Store, "write_blocks", write)
        engine.execute(store, plan)
    return session, store, reader


@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "mjpeg", "libvpx-vp9"])
def test_frames_up_to_the_damage_are_read_and_it_is_located(tmp_path, codec):
    clip = probe(overwrite(encode(tmp_path / "c1.mp4", codec), 15, 15))
    assert clip.frames == FRAMES, "nothing is seen of it from outside"
    images = read_frames(clip, range(FRAMES))
    good = [image for _, image in zip(range(15), images, strict=False)]
    assert len(good) == 15
    with pytest.raises(DamagedClip) as damage:
        next(images)
    assert damage.value.frame == 15
    with pytest.raises(DamagedClip, match="frame 15 cannot be decoded"):
        list(read_frames(clip, [20]))


def test_a_frame_that_a_decoder_passes_over_in_silence_does_not_shift_the_others(tmp_path):
    """Told by the time of the next one."""
    path = encode(tmp_path / "c1.mp4", "mpeg4")
    with av.open(str(path)) as source, av.open(str(tmp_path / "c2.mp4"), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        packets: Any = source.demux(video=0)
        for n, packet in enumerate(packets):
            if packet.size and n != 10:
                packet.stream = stream
                target.mux(packet)
    whole, clip = probe(path), probe(tmp_path / "c2.mp4")
    hidden = replace(whole, path=clip.path)
    with pytest.raises(DamagedClip) as damage:
        list(read_frames(hidden, range(FRAMES)))
    assert damage.value.frame == 10


def test_the_frames_are_missing_whatever_the_chunks_and_after_a_stop(root, monkeypatch):
    overwrite(root / "videos" / "c3.mp4", 15, FRAMES)
    results = []
    for chunk_frames, stop_after in ((64, None), (5, None), (4, 15)):
        shutil.rmtree(root / "session.zarr", ignore_errors=True)
        session, store, reader = detected(root, monkeypatch, chunk_frames, stop_after)
        results.append({name: store.read("detections", name) for name in ("points", "score", "right")})
        damaged, unusable = reader.missing(session.clips, session.timeline)
        assert list(damaged) == ["c3"]
        assert unusable == {}
        assert "frames 15 to 23 of view c3 cannot be decoded and are missing" in damaged["c3"]
    for name, expected in results[0].items():
        assert np.isnan(expected[2, 15:]).all()
        assert np.isfinite(expected[[0, 1, 3], :, 0]).all()
        assert np.isfinite(expected[2, :15, 0]).all()
        for other in results[1:]:
            np.testing.assert_array_equal(other[name], expected)


def test_an_exported_dataset_has_no_images_of_missing_frames(root, monkeypatch):
    overwrite(root / "videos" / "c3.mp4", 15, FRAMES)
    session, store, _ = detected(root, monkeypatch)
    clips = [clip.path for clip in session.clips]
    rows = decoded_rows(store, [*clips[:3], None], session.timeline.source_frame)
    assert (rows[2] >= 0).tolist() == [True] * 15 + [False] * 9
    np.testing.assert_array_equal(rows[[0, 1, 3]], session.timeline.source_frame[[0, 1, 3]])


def test_a_mended_clip_is_whole_again(root, monkeypatch):
    overwrite(root / "videos" / "c3.mp4", 15, FRAMES)
    detected(root, monkeypatch)
    shutil.copy(root / "videos" / "c1.mp4", root / "videos" / "c3.mp4")
    session, store, reader = detected(root, monkeypatch)
    assert reader.missing(session.clips, session.timeline) == ({}, {})
    assert np.isfinite(store.read("detections", "score")[..., 0]).all()


@pytest.mark.parametrize(
    ("first", "flags", "status"),
    [(15, (), 0), (2, (), 2), (2, ("--capture.dead-views", "0.25"), 0)],
    ids=["half of it is there", "most of it is missing", "and that is allowed"],
)
def test_the_rule_for_dead_views(root, capsys, first, flags, status):
    overwrite(root / "videos" / "c3.mp4", first, FRAMES)
    for workers in "0", "1":  # The second time nothing is left to decode.
        found = main(["detect", str(root), "--json", "--workers", workers, *flags])
        out, err = capsys.readouterr()
        said = " ".join(err.split())
        assert found == status, said
        assert said.count(f"frames {first} to 23 of view c3 cannot be decoded and are missing") == 1
        assert said.count("warning: ") == (status == 0)
        assert status or sum(json.loads(out)["hands_found"]) == pytest.approx(1)


def test_a_run_on_workers_goes_on_to_the_end(tiny, capsys):
    """The second look, which reads the clip again, leaves the missing frames alone."""
    overwrite(next((tiny / "videos").glob("*.mp4")), 5, 8)
    write_cameras(tiny / "cameras.toml", read_cameras(Store(str(tiny / "truth.zarr"))))
    assert main(["triangulate", str(tiny), "--json", "--workers", "2", "--chunk-frames", "2"]) == 0
    out, err = capsys.readouterr()
    assert "frames 5 to 7 of view" in " ".join(err.split())
    assert json.loads(out)["frames_with_hand"] == {"left": 1.0, "right": 1.0}
