"""What headers claim and clips hold: edit lists, sound that runs on, no duration, variable rates, holes, rotation."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
from clips import SIZE, write

from handpipe.capture.container import contents, since_first
from handpipe.capture.session import read_session
from handpipe.capture.settings import CaptureSettings
from handpipe.capture.video import probe, read_frames
from handpipe.core.errors import VideoError

FRAMES = 20


def encode(path, times=None, codec="mpeg4", frames=FRAMES, sound_s=0.0, options=None, encoder=None):
    """A clip whose n-th frame is gray of brightness 10 n + 5, presented at these times (seconds)."""
    times = np.arange(frames) / 25 if times is None else times
    with av.open(str(path), "w", options=options or {}) as file:
        stream: Any = file.add_stream(codec, rate=25, options=encoder or {})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        audio: Any = file.add_stream("pcm_s16le", rate=8000, layout="mono") if sound_s else None
        for n, time in enumerate(times):
            image = av.VideoFrame.from_ndarray(np.full((SIZE[1], SIZE[0], 3), 10 * n + 5, np.uint8), "bgr24")
            image.pts, image.time_base = round(1000 * time), Fraction(1, 1000)
            file.mux(stream.encode(image))
        file.mux(stream.encode())
        if audio is not None:
            samples = av.AudioFrame.from_ndarray(np.zeros((1, int(8000 * sound_s)), np.int16), "s16", "mono")
            samples.sample_rate, samples.pts = 8000, 0
            file.mux(audio.encode(samples))
            file.mux(audio.encode())
    return path


def all_readable(clip):
    """Every counted frame is decoded, and there is none after the last."""
    images = list(read_frames(clip, range(clip.frames)))
    with pytest.raises(VideoError):
        list(read_frames(clip, [clip.frames]))
    return [int(image.mean() / 10) for image in images]


def test_an_ordinary_clip_is_not_decoded_to_be_counted(tmp_path, monkeypatch):
    path = write(tmp_path / "c1.mp4")
    monkeypatch.setattr("handpipe.capture.container._decoded", None)
    held = contents(path, 10)
    assert held is not None
    assert (held.frames, held.fps(), held.uneven()) == (10, pytest.approx(30), False)


def test_sound_that_runs_on(tmp_path):
    clip = probe(encode(tmp_path / "c1.mkv", sound_s=2.0))
    assert (clip.frames, clip.fps, clip.uneven_s) == (FRAMES, 25.0, ())
    assert all_readable(clip) == list(range(FRAMES))


@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9"])
def test_a_browsers_recording_without_duration(tmp_path, codec):
    clip = probe(encode(tmp_path / "c1.webm", codec=codec, options={"live": "1"}))
    assert (clip.frames, clip.fps) == (FRAMES, 25.0)
    assert all_readable(clip) == list(range(FRAMES))


def test_frames_that_are_not_shown_are_not_counted(tmp_path):
    """VP8's alternate reference frames are packets of their own."""
    path = encode(tmp_path / "c1.webm", codec="libvpx", encoder={"auto-alt-ref": "1", "lag-in-frames": "10"})
    assert all_readable(probe(path)) == list(range(FRAMES))


def test_an_edit_list_that_hides_frames(tmp_path):
    """As a lossless cut leaves it: from the key frame before the cut on, packets are there and not shown."""
    whole, cut = encode(tmp_path / "whole.mp4", encoder={"g": "10"}), tmp_path / "c1.mp4"
    with av.open(str(whole)) as source, av.open(str(cut), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        packets: Any = source.demux(source.streams.video[0])
        for packet in packets:
            if packet.size and packet.pts * packet.time_base >= 0.4:
                shift = round(0.52 / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, stream
                target.mux(packet)
    clip = probe(cut)
    assert clip.frames == 7
    assert all_readable(clip) == list(range(13, 20))


def test_a_variable_rate_is_the_timelines(tmp_path):
    root = tmp_path / "s"
    (root / "videos").mkdir(parents=True)
    times = np.r_[np.arange(8) / 20, 0.4 + np.arange(12) / 50]
    for view in ("c1", "c2"):
        encode(root / "videos" / f"{view}.mkv", times)
    session = read_session(root, CaptureSettings())
    assert session.timeline.timestamps
    assert session.timeline.time_s == pytest.approx(np.stack([times, times]), abs=0.001)
    assert session.fps == pytest.approx(50)
    assert session.warnings == ()
    assert all_readable(session.clips[0]) == list(range(FRAMES))
    assert read_session(root, CaptureSettings(), 25.0).timeline.time_s[0] == pytest.approx(np.arange(FRAMES) / 25)


def test_clips_whose_variable_rates_differ_are_said(tmp_path):
    root = tmp_path / "s"
    (root / "videos").mkdir(parents=True)
    for view in ("c1", "c2"):
        encode(root / "videos" / f"{view}.mkv")
    encode(root / "videos" / "c3.mkv", np.r_[np.arange(8) / 25, 0.5 + np.arange(8, 20) / 25])
    session = read_session(root, CaptureSettings())
    (warning,) = session.warnings
    assert "c3.mkv: its presentation times differ from the other clips' by up to 500 ms" in warning


def test_times_that_are_rounded_are_a_regular_rate(tmp_path):
    clip = probe(encode(tmp_path / "c1.mkv", np.arange(FRAMES) / 30))
    assert clip.uneven_s == ()
    assert clip.fps == 30.0


def test_equal_times_are_spread():
    assert since_first([3.0, 3.1, 3.1, 3.1, 3.4, 3.4]).tolist() == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert len(since_first([3.0, None])) == len(since_first([])) == 0


def damaged(path, first, last):
    """The clip with a hole over these packets, as an unfinished copy leaves it."""
    with av.open(str(path)) as file:
        demuxed: Any = file.demux(video=0)
        packets = [(packet.pos, packet.size) for packet in demuxed if packet.size]
    content = bytearray(path.read_bytes())
    for pos, size in packets[first : last + 1]:
        content[pos : pos + size] = bytes(size)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_a_hole_in_a_clip_leaves_the_view_out(tmp_path, codec):
    root = tmp_path / "s"
    (root / "videos").mkdir(parents=True)
    for n in range(11):
        write(root / "videos" / f"c{n}.mp4", 12)
    damaged(encode(root / "videos" / "c3.mp4", np.arange(12) / 30, codec=codec), 4, 6)
    session = read_session(root, CaptureSettings())
    assert list(session.left_out) == ["c3"]
    assert "3 of its 12 frames cannot be decoded" in session.left_out["c3"]
    assert len(session.views) == 10


def test_a_rotated_clip_has_the_size_of_its_images(tmp_path):
    path = tmp_path / "c1.mp4"
    encode(path)
    content = path.read_bytes()
    unit = b"\x00\x01\x00\x00" + bytes(12) + b"\x00\x01\x00\x00" + bytes(12) + b"\x40\x00\x00\x00"
    quarter = bytes(4) + b"\x00\x01\x00\x00" + bytes(4) + b"\xff\xff\x00\x00" + bytes(16) + b"\x40\x00\x00\x00"
    track = content.index(b"tkhd")
    at = content.index(unit, track)
    path.write_bytes(content[:at] + quarter + content[at + len(unit) :])
    clip = probe(path)
    assert clip.size_px == SIZE[::-1]
    assert all_readable(clip) == list(range(FRAMES))
