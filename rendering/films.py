"""Clips and sheets of pictures: tiles, labels, the line of time, and the files' formats."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy import ndarray
from PIL import Image

from ..core.storage.atomic import appearing

CLIPS, PICTURES = (".mp4", ".gif", ".webp"), (".png", ".jpg")
"""Suffixes of the files that can be written."""

KEY_BGR, LINE_BGR, DIM_BGR = (40, 170, 255), (235, 232, 230), (120, 110, 104)

GROUND_BGR = (34, 30, 28)
"""Between tiles."""

GAP = 4
"""Between the tiles of a sheet, pixels."""

H264 = {"crf": "20", "preset": "veryfast", "profile": "high"}

BT709 = 1
"""FFmpeg's number for the colours of high definition, which browsers take for granted."""


def write_clip(path: Path, pictures: Iterator[ndarray], fps: float) -> None:
    """Write a clip that appears when it is complete.

    Args:
        path: .mp4 (H.264), .gif or .webp.
        pictures: (h, w, 3) uint8 BGR, all of one size; even for .mp4.
        fps: frames per second.

    Raises:
        DiskError: it cannot be written.
    """
    with appearing(path) as place:
        if path.suffix.lower() == ".mp4":
            _write_mp4(place, pictures, fps)
            return
        images = (Image.fromarray(np.ascontiguousarray(picture[..., ::-1])) for picture in pictures)
        first = next(images)
        duration = max(20, round(1000 / fps))
        if path.suffix.lower() == ".webp":
            first.save(place, save_all=True, append_images=images, duration=duration, loop=0, quality=80, method=2)
        else:
            first.save(place, save_all=True, append_images=images, duration=duration, loop=0, optimize=False)


def _write_mp4(place: Path, pictures: Iterable[ndarray], fps: float) -> None:
    with av.open(str(place), "w", format="mp4", options={"movflags": "+faststart"}) as file:
        stream = None
        for picture in pictures:
            if stream is None:
                stream = file.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001), options=H264)
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = "yuv420p"
                context = stream.codec_context
                context.colorspace = context.color_primaries = context.color_trc = BT709
                context.color_range = 1
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
            file.mux(stream.encode(frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")))
        if stream is not None:
            file.mux(stream.encode())


def write_picture(path: Path, picture: ndarray) -> None:
    """Write a .png or .jpg that appears when it is complete; raises DiskError."""
    with appearing(path) as place:
        how = [cv2.IMWRITE_JPEG_QUALITY, 88, cv2.IMWRITE_JPEG_OPTIMIZE, 1] if path.suffix.lower() == ".jpg" else []
        place.write_bytes(cv2.imencode(path.suffix.lower(), picture, how)[1].tobytes())


# ---- tiles -------------------------------------------------------------------------------------------------------


def fitted(box_px: tuple[int, int], size_px: tuple[int, int]) -> tuple[int, int]:
    """The largest width and height of this shape within a size."""
    scale = min(size_px[0] / box_px[0], size_px[1] / box_px[1])
    return max(1, min(size_px[0], round(scale * box_px[0]))), max(1, min(size_px[1], round(scale * box_px[1])))


def columns_for(count: int, shape: tuple[int, int], size_px: tuple[int, int]) -> int:
    """Columns of a grid in which pictures of a shape (width, height) are largest."""

    def area(columns: int) -> int:
        w, h = fitted(shape, (size_px[0] // columns, size_px[1] // -(-count // columns)))
        return w * h

    return max(range(1, count + 1), key=area)


def grid(tiles: Sequence[ndarray], columns: int, size_px: tuple[int, int]) -> ndarray:
    """(h, w, 3) uint8: tiles in rows, each in the middle of its cell."""
    w, h = size_px
    rows = -(-len(tiles) // columns)
    out = np.full((h, w, 3), GROUND_BGR, np.uint8)
    cell = (w // columns, h // rows)
    for k, tile in enumerate(tiles):
        x = (k % columns) * cell[0] + (cell[0] - tile.shape[1]) // 2
        y = (k // columns) * cell[1] + (cell[1] - tile.shape[0]) // 2
        out[y : y + tile.shape[0], x : x + tile.shape[1]] = tile
    return out


def sheet(tiles: Sequence[ndarray], columns: int) -> ndarray:
    """(h, w, 3) uint8: tiles of one size in rows, with white between them and for those that are missing."""
    h, w = tiles[0].shape[:2]
    rows = -(-len(tiles) // columns)
    out = np.full((rows * (h + GAP) - GAP, columns * (w + GAP) - GAP, 3), 255, np.uint8)
    for k, tile in enumerate(tiles):
        y, x = (k // columns) * (h + GAP), (k % columns) * (w + GAP)
        out[y : y + h, x : x + w] = tile
    return out


# ---- what is written on them -------------------------------------------------------------------------------------


def label(image: ndarray, text: str, color: tuple[int, int, int] = LINE_BGR) -> None:
    """Write in the lower left corner, dark around light."""
    h, w = image.shape[:2]
    size = max(10, round(0.032 * w if w < 1.5 * h else 0.045 * h))
    at, font = (round(0.6 * size), h - round(0.7 * size)), cv2.FontFace("sans")
    for dx, dy in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        cv2.putText(image, text, (at[0] + dx, at[1] + dy), (20, 20, 20), font, size, 600)
    cv2.putText(image, text, at, color, font, size, 600)


def nothing(size_px: tuple[int, int], text: str) -> ndarray:
    """(h, w, 3) uint8: in place of an image that there is not."""
    image = np.full((size_px[1], size_px[0], 3), 60, np.uint8)
    label(image, text)
    return image


def mark(image: ndarray) -> None:
    """A frame around a keyframe."""
    h, w = image.shape[:2]
    cv2.rectangle(image, (0, 0), (w - 1, h - 1), KEY_BGR, 2 * max(2, round(0.012 * w)))


def draw_time(image: ndarray, frame: int, frames: int, keyframes: Sequence[int]) -> None:
    """A line of time, on which keyframes light up once they are reached."""
    h, w = image.shape[:2]
    y, x = round(0.955 * h), np.round(w * (0.06 + 0.88 * np.arange(frames) / max(1, frames - 1))).astype(int)
    thick = max(1, h // 240)
    cv2.line(image, (int(x[0]), y), (int(x[-1]), y), DIM_BGR, thick, cv2.LINE_AA)
    cv2.line(image, (int(x[0]), y), (int(x[frame]), y), LINE_BGR, thick, cv2.LINE_AA)
    for key in keyframes:
        color = KEY_BGR if key <= frame else DIM_BGR
        cv2.circle(image, (int(x[key]), y), max(3, h // 90), color, cv2.FILLED, cv2.LINE_AA)
