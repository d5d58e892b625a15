"""A session's clips, encoded again in several ways: size, and how far the fitted joints move."""

from __future__ import annotations

import shutil
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import zarr
from _recording_commands import handpipe
from _report import Figure, grid

from handpipe.capture.session import read_session
from handpipe.capture.settings import CaptureSettings
from handpipe.capture.video import read_frames

FAST = {"preset": "ultrafast", "tune": "zerolatency", "bf": "0"}
WAYS = {
    "ffv1": ("ffv1", "bgr0", {}),
    "h264, quality 18": ("libx264", "yuv420p", {**FAST, "crf": "18"}),
    "h264, quality 10": ("libx264", "yuv420p", {**FAST, "crf": "10"}),
    "h264, 4:2:0, lossless": ("libx264", "yuv420p", {**FAST, "qp": "0"}),
    "h264, 4:4:4, lossless": ("libx264", "yuv444p", {**FAST, "qp": "0"}),
}
"""Encoder, pixel format and options; those of `handpipe record` first."""


def encoders(folder: Path, session: Path) -> list[Figure]:
    """A session that was run, with its cameras.toml: its clips in every way, and joints beside those with FFV1."""
    rows: dict[str, dict[str, str]] = {}
    apart = {}
    joints: dict[str, np.ndarray] = {}
    for n, name in enumerate(WAYS):
        place = folder / f"encoded-{n}"
        size = encode(session, place, name)
        assert handpipe("run", place).wait() in (0, 3), f"{place}: the run failed"
        joints[name] = np.asarray(zarr.open_group(str(place / "session.zarr"), mode="r")["mano/joints"])
        away = 1e3 * np.linalg.norm(joints[name] - joints["ffv1"], axis=-1)
        apart[name] = float(np.nanmean(away))
        rows[name] = {"MB": f"{1e-6 * size:.1f}", "joints apart, mm": f"{apart[name]:.2f}"}
        print(f"{name}: {rows[name]}", file=sys.stderr)
        shutil.rmtree(place)
    grid(f"clips of {session.name}, encoded again", rows, ["MB", "joints apart, mm"])
    return [Figure("joints with H.264 of quality 18 from those with FFV1, mean", apart["h264, quality 18"], "mm", 0.3)]


def encode(session: Path, place: Path, name: str) -> int:
    """Write the clips; returns their bytes."""
    codec, pixels, options = WAYS[name]
    (place / "videos").mkdir(parents=True)
    shutil.copy(session / "cameras.toml", place)
    size = 0
    for clip in read_session(session, CaptureSettings()).clips:
        path = place / "videos" / f"{clip.view}.mkv"
        rate = Fraction(clip.fps).limit_denominator(1001)
        with av.open(str(path), "w", format="matroska") as file:
            stream = file.add_stream(codec, rate=rate, options=options)
            stream.width, stream.height = clip.size_px
            stream.pix_fmt = pixels
            stream.codec_context.thread_count, stream.codec_context.gop_size = 1, round(rate)
            for at, image in enumerate(read_frames(clip, range(clip.frames))):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="bgr24")
                frame.pts, frame.time_base = at, 1 / rate
                for packet in stream.encode(frame):
                    file.mux(packet)
            for packet in stream.encode(None):
                file.mux(packet)
        size += path.stat().st_size
    return size
