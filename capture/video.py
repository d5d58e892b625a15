"""Video clips: reading headers, decoding frames in order, and writing clips atomically."""

# Ring 2: reads and writes.

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from numpy import ndarray

from ..core.errors import VideoError
from ..core.files import view_name
from ..core.recording import Clip
from ..core.storage.atomic import appearing
from .container import ROUNDING_S, contents

USUAL_SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm")

CLIP_SUFFIXES = (
    *USUAL_SUFFIXES,
    *(".m4v", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".asf", ".3gp", ".flv", ".ogv", ".mxf"),
)
"""Suffixes of clips. Of two files for one view, the one with a usual suffix is the clip: cameras and converters leave
the other one beside it."""

MAX_FRAMES = 1 << 40
"""Headers without a duration claim numbers beyond any integer."""

MAX_RATE_ERROR = 0.1
"""Declared rates that differ more from the presentation times are wrong; short clips and rounded times differ less."""

MAX_STEP = 1.75
"""Largest time from one frame of a clip with a regular rate to the next, in steps of its declared rate. Times deviate
by a quarter of a step and rates by a tenth; a frame that is passed over is two steps."""


class DamagedClip(VideoError):
    """A clip cannot be decoded from a frame on."""

    def __init__(self, text: str, frame: int = 0) -> None:
        super().__init__(text)
        self.frame = frame
        """The first that cannot be decoded."""


def damaged(clip: Clip, frame: int) -> DamagedClip:
    """The error for a clip whose frame cannot be decoded."""
    return DamagedClip(
        f"{clip.path}: expected {clip.frames} frames of {clip.size_px[0]}x{clip.size_px[1]}, but frame {frame} cannot "
        "be decoded. The clip is damaged: copy it again, or remove it to continue without this view.",
        frame,
    )


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key under which c2 comes before c10."""
    parts = re.split(r"(\d+)", name)
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]


def find_clips(folder: Path) -> dict[str, Path]:
    """Clips of a folder by view name, in natural order.

    Raises:
        VideoError: two files have the same stem.
    """
    found: dict[str, Path] = {}
    paths = [p for p in folder.iterdir() if p.suffix.lower() in CLIP_SUFFIXES and not p.name.startswith(".")]
    for path in paths:
        if not path.name.isprintable():
            raise VideoError(
                f"{folder}: expected clips with readable names, but found {path.name!r}. "
                "Rename it: the file name is the name of the view."
            )
    for path in sorted(paths, key=lambda p: (natural_key(view_name(p)), p.suffix.lower() not in USUAL_SUFFIXES)):
        view = view_name(path)
        if view not in found:
            found[view] = path
        elif (path.suffix.lower() in USUAL_SUFFIXES) or (found[view].suffix.lower() not in USUAL_SUFFIXES):
            raise VideoError(
                f"{folder}: expected one clip per view, but found both {found[view].name} and {path.name}. "
                "Remove or rename one of them."
            )
    return found


def probe(path: Path) -> Clip:
    """Decode the first frame of a clip and count the others: as packets where that is exact, else by decoding.

    Raises:
        VideoError: the file is missing, empty, truncated or not a video.
    """
    advice = "Copy it again from the camera, or remove it."
    if not path.is_file():
        found = "found a folder or special file" if path.exists() else "there is no such file"
        raise VideoError(f"{path}: expected a clip, but {found}. Put the clip there.")
    size = path.stat().st_size
    if size == 0:
        raise VideoError(f"{path}: expected a clip, but the file is empty. {advice}")
    try:
        declared = _declared_bytes(path)
    except PermissionError as error:
        raise VideoError(
            f"{path}: expected a clip, but it cannot be read ({error.strerror}). Change its permissions."
        ) from error
    if declared is not None and declared > size:
        raise VideoError(
            f"{path}: expected {declared} bytes according to its header, but found {size}: it is truncated. {advice}"
        )
    capture = _open(path)
    try:
        ok, image = capture.read() if capture.isOpened() else (False, None)
        declared = int(np.clip(capture.get(cv2.CAP_PROP_FRAME_COUNT), -1, MAX_FRAMES)) if ok else 0
        fps = float(capture.get(cv2.CAP_PROP_FPS))
    finally:
        capture.release()
    held = contents(path, declared) if ok else None
    if image is None or held is None or held.frames == 0:
        raise VideoError(
            f"{path}: expected a video that can be decoded, but found {_kind(path)}. "
            f"It may be truncated, or not a video. {advice}"
        )
    if held.broken:
        raise VideoError(
            f"{path}: expected a clip without gaps, but {held.broken} of its {held.frames + held.broken} frames cannot "
            f"be decoded. {advice}"
        )
    size_px = (image.shape[1], image.shape[0])
    if not held.uneven():
        return Clip(path, held.frames, _rate(fps, held.fps()), size_px)
    return Clip(path, held.frames, _rate(fps, held.fps()), size_px, tuple(held.time_s.tolist()))


def _rate(declared: float, measured: float) -> float:
    """Frames per second: as declared, unless the presentation times contradict it."""
    if not measured > 0 or abs(declared - measured) <= MAX_RATE_ERROR * measured:
        return declared
    whole = round(measured)
    return float(whole) if abs(measured - whole) <= 0.01 * measured else round(measured, 2)


def read_frames(clip: Clip, wanted: Sequence[int]) -> Iterator[ndarray]:
    """Decode a clip once, in order, and yield the wanted frames (ascending indices).

    Seeking is not used, because seeking by index is inexact for clips with a variable frame rate. All frames before
    the first wanted one are decoded and dropped.

    Yields:
        (height, width, 3) uint8, blue green red, one for each wanted index.

    Raises:
        DamagedClip: the clip ends, or changes its size, before the last wanted frame.
    """
    capture = _open(clip.path)
    try:
        position, time_s = -1, math.inf
        for index in wanted:
            assert index > position, "wanted frames ascend"
            ok = True
            while ok and position < index:
                ok, before_s = capture.grab(), time_s
                position += 1
                time_s = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                # Some decoders pass over a damaged frame without a word: the next would be taken for it.
                ok = ok and (bool(clip.uneven_s) or time_s - before_s < MAX_STEP / clip.fps + 2 * ROUNDING_S)
            image = capture.retrieve()[1] if ok else None
            if image is None or image.shape[:2] != clip.size_px[::-1]:
                raise damaged(clip, position)
            yield image
    finally:
        capture.release()


@contextmanager
def clip_writer(path: Path, fps: float, size_px: tuple[int, int]) -> Iterator[cv2.VideoWriter]:
    """Write an mp4 file atomically: it gets its final name when it is complete."""
    with appearing(path) as place:
        writer = cv2.VideoWriter(str(place.absolute()), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), fps, size_px)
        if not writer.isOpened():
            raise VideoError(
                f"{path}: expected to write an mp4 file, but OpenCV's encoder cannot open it. "
                "Check the folder's permissions and the disk space."
            )
        try:
            yield writer
        finally:
            writer.release()


def _open(path: Path) -> cv2.VideoCapture:
    # One decoding thread: the engine's workers are the parallelism.
    # FFmpeg interprets text before a colon as a protocol, unless the path is absolute.
    return cv2.VideoCapture(str(path.absolute()), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])


def _declared_bytes(path: Path) -> int | None:
    """Expected size of an MP4/MOV file from its top-level boxes, bytes; None for other containers."""
    if path.suffix.lower() not in (".mp4", ".mov"):
        return None
    end = 0
    size = path.stat().st_size
    with path.open("rb") as file:
        while end + 8 <= size:
            file.seek(end)
            header = file.read(16)
            length, kind = struct.unpack(">I4s", header[:8])
            if end == 0 and kind not in (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"):
                return None
            if length == 1 and len(header) == 16:
                length = struct.unpack(">Q", header[8:])[0]
            if length == 0:
                return size
            if length < 8:
                return None
            end += length
    return end


def _kind(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(64)
    if b"ftyp" in head[:12]:
        return "an MP4 file without a usable video track"
    if head and all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head):
        return "a text file"
    return f"a file that begins with {head[:8]!r}"
