"""Small sessions with drawn content, in which faults are planted: clips, cameras, timestamps."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from _faults_planting import Ran, handpipe
from numpy import ndarray
from numpy.random import Generator

from handpipe.core.cameras import Cameras
from handpipe.core.cameras_file import write_cameras
from handpipe.rendering.rig import dome_rig

SIZE, FPS, FRAMES = (320, 240), 25, 20


def encode(
    path: Path,
    rng: Generator,
    times: ndarray | None = None,
    codec: str = "mpeg4",
    sound_s: float = 0.0,
    container: dict[str, str] | None = None,
    encoder: dict[str, str] | None = None,
    size: tuple[int, int] = SIZE,
    fps: int = FPS,
) -> Path:
    """A clip of a drawn picture that moves and brightens.

    Args:
        path: where; the suffix is the container.
        rng: draws the picture.
        times: (frame,) presentation times, seconds; by default FRAMES at FPS.
        codec: FFmpeg's name.
        sound_s: length of a sound track, seconds.
        container, encoder: FFmpeg's options.
        size: of the images, pixels.
        fps: what the stream declares.
    """
    times = np.arange(FRAMES) / fps if times is None else times
    picture = rng.integers(0, 128, (size[1] // 8, size[0] // 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    picture = np.pad(picture, ((0, size[1] % 8), (0, size[0] % 8), (0, 0)))
    with av.open(str(path), "w", options=container or {}) as file:
        stream: Any = file.add_stream(codec, rate=fps, options=encoder or {"g": "12"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        base = Fraction(1, fps) if np.allclose(times * fps, np.round(times * fps)) else Fraction(1, 1000)
        stream.codec_context.time_base = stream.time_base = base
        audio: Any = file.add_stream("pcm_s16le", rate=8000, layout="mono") if sound_s else None
        for n, time in enumerate(times):
            image = av.VideoFrame.from_ndarray(np.ascontiguousarray(np.roll(picture + np.uint8(4 * n), 3 * n, 1)))
            image.pts, image.time_base = round(float(time / base)), base
            file.mux(stream.encode(image))
        file.mux(stream.encode())
        if audio is not None:
            samples = av.AudioFrame.from_ndarray(np.zeros((1, int(8000 * sound_s)), np.int16), "s16", "mono")
            samples.sample_rate, samples.pts = 8000, 0
            file.mux(audio.encode(samples))
            file.mux(audio.encode())
    return path


def session(root: Path, rng: Generator, suffix: str = ".mp4", **options: Any) -> tuple[Path, Cameras]:
    """Three or four clips of one content, and cameras.toml."""
    rig = dome_rig(int(rng.integers(3, 5)), options.get("size", SIZE), int(rng.integers(1000)))
    (root / "videos").mkdir(parents=True)
    first = encode(root / "videos" / f"{rig.names[0]}{suffix}", rng, **options)
    for name in rig.names[1:]:
        shutil.copy(first, first.with_name(f"{name}{suffix}"))
    write_cameras(root / "cameras.toml", rig)
    return root, rig


def clips(root: Path) -> list[Path]:
    return sorted((root / "videos").iterdir())


def one_clip(root: Path, rng: Generator) -> Path:
    """A drawn one."""
    paths = clips(root)
    return paths[int(rng.integers(len(paths)))]


def checked(root: Path, *flags: object) -> Ran:
    """A command that opens the session and its cameras, and does little else."""
    return handpipe("calibrate", root, "--workers", 0, "--json", *flags)


def decodable(path: Path) -> int:
    """Frames that FFmpeg gives."""
    with av.open(str(path)) as file:
        return sum(1 for _ in file.decode(video=0))


def packets(path: Path) -> list[tuple[int, int]]:
    """(place, size) of each packet of the video in its file, bytes."""
    with av.open(str(path)) as file:
        demuxed: Any = file.demux(video=0)
        return [(packet.pos, packet.size) for packet in demuxed if packet.size]


def overwrite(path: Path, places: Sequence[tuple[int, int]], byte: int) -> None:
    content = bytearray(path.read_bytes())
    for at, size in places:
        content[at : at + size] = bytes([byte]) * size
    path.write_bytes(content)


def timestamps(root: Path, rig: Cameras, times: ndarray, header: str = "frame_time") -> Path:
    """A timestamps.csv that gives the n-th frame of every clip the n-th time."""
    rows = [f"{n},{name},{n},{time!r}" for name in rig.names for n, time in enumerate(times.tolist())]
    path = root / "timestamps.csv"
    path.write_text("\n".join([f"sync_index,cam_id,frame_index,{header}", *rows]) + "\n")
    return path
