"""`handpipe render`: hands over the footage of some views, or over a table, as a clip or as a picture."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy import ndarray

from ..capture.video import DamagedClip
from ..core.cameras import Cameras
from ..core.errors import ConfigError, SessionError
from ..core.hands import HANDS
from ..rendering import films
from ..rendering.moving_hands import MovingHands, own_axes
from ..rendering.over_image import draw_over, lamps, through
from ..rendering.studio import Studio, around, orbit
from .measures import hands_box, project
from .pictures import clip_paths, images_of
from .shown_motion import ShownMotion, chosen_frames

CLIP_PX, PICTURE_PX = (1280, 720), (480, 360)
"""Sizes where none is given: of a whole clip, and of one picture of a sheet."""

TRAIL_S = 0.5
"""Of the fingertips' way that a clip shows."""

CLOSE = 0.025
"""Around one hand, as a share of the image's width."""

THREADS = 2
AHEAD = 4
"""Pictures that are made at once."""

Item = TypeVar("Item")
Made = TypeVar("Made")


@dataclass(frozen=True)
class Request:
    """What to render, as the flags of the command say."""

    out: Path
    views: tuple[str, ...]
    turntable: bool
    frames: str
    sample: int
    size_px: tuple[int, int] | None
    fps: float
    moments: int
    azimuth_deg: float
    elevation_deg: float
    turn_deg: float | None
    opacity: float
    crop: str
    """`no`, `hands`, `left` or `right`: what the footage is cut to."""
    beside: bool
    arms: bool
    skin: bool

    @property
    def is_clip(self) -> bool:
        return self.out.suffix.lower() in films.CLIPS


def check_out(out: Path) -> None:
    """Raises ConfigError for files that cannot be written, before anything is drawn."""
    if out.is_dir():
        raise ConfigError(f"{out}: expected a file to write, but found a folder. Add a file name.")
    if out.suffix.lower() not in (*films.CLIPS, *films.PICTURES):
        raise ConfigError(
            f"{out}: expected a clip ({', '.join(films.CLIPS)}) or a picture ({', '.join(films.PICTURES)}), but found "
            f"{out.suffix or 'no suffix'}. Use another suffix."
        )


def render(shown: ShownMotion, hand_model: str | None, wish: Request) -> dict[str, Any]:
    """Render a motion.

    Args:
        shown: the session or the store.
        hand_model: folder with the hand model; None: the procedural hands.
        wish: what to render.

    Returns:
        Figures for the command's summary.

    Raises:
        HandpipeError: the input does not allow it, or the file cannot be written.
    """
    number = _numbers(shown, wish)
    hands = shown.hands(wish.sample, number, hand_model, arms=wish.arms, tinted=not wish.skin)
    keys = np.flatnonzero(np.isin(number, shown.keyframes)).tolist()
    if wish.turntable or (shown.root is None and not wish.views):
        names: list[str] = []
        warnings = _render_turntable(shown, hands, keys, wish)
    else:
        views = shown.views(wish.views)
        names = [shown.calibrated().names[view] for view in views]
        warnings = _render_footage(shown, hands, views, wish)
    return {
        "file": str(wish.out),
        "frames": len(number),
        "views": names,
        "keyframes": number[keys].tolist(),
        "megabytes": round(wish.out.stat().st_size / 1e6, 2),
        "warnings": warnings,
    }


def _numbers(shown: ShownMotion, wish: Request) -> ndarray:
    """(frame,) that are drawn."""
    number, named = chosen_frames(wish.frames, shown.frames)
    if wish.is_clip:
        return number[:: max(1, round(shown.motion.fps / wish.fps))]
    if named or len(number) <= wish.moments:
        return number
    # Evenly spaced, the nearest of them replaced by the keyframes.
    even = number[np.linspace(0, len(number) - 1, wish.moments).round().astype(int)]
    for key in shown.keyframes[np.isin(shown.keyframes, number)]:
        even[np.abs(even - key).argmin()] = key
    return np.unique(even)


# ---- without footage ---------------------------------------------------------------------------------------------


def _render_turntable(shown: ShownMotion, hands: MovingHands, keys: Sequence[int], wish: Request) -> list[str]:
    up = None if shown.cameras is None or not shown.cameras.calibrated.any() else shown.cameras.up
    R = own_axes(hands, up if up is not None and np.isfinite(up).all() else None)
    turn = wish.turn_deg if wish.turn_deg is not None else 360.0 if wish.is_clip else 0.0
    azimuth = wish.azimuth_deg + turn * np.arange(len(hands)) / len(hands)
    size = _even(wish.size_px or CLIP_PX) if wish.is_clip else wish.size_px or PICTURE_PX
    studio = Studio(hands, R, orbit(around(hands.joints_m @ R.T), size, azimuth, wish.elevation_deg))
    if wish.is_clip:
        trail = round(TRAIL_S * hands.fps)

        def picture(frame: int) -> ndarray:
            image = studio.picture(frame, frame - trail)
            films.draw_time(image, frame, len(hands), keys)
            return image

        films.write_clip(wish.out, _side_by_side(picture, range(len(hands))), hands.fps)
        return []
    tiles = []
    for frame, number in enumerate(hands.number.tolist()):
        tile = studio.picture(frame, frame)
        films.label(tile, _moment(shown, number, frame in keys), films.KEY_BGR if frame in keys else films.LINE_BGR)
        if frame in keys:
            films.mark(tile)
        tiles.append(tile)
    films.write_picture(wish.out, films.sheet(tiles, min(len(tiles), 5)))
    return []


def _moment(shown: ShownMotion, number: int, key: bool) -> str:
    return f"{number / shown.motion.fps:.2f} s" + ("  keyframe" if key else "")


# ---- over footage ------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Footage:
    """One view: its images, cut and scaled, and the hands over them."""

    camera: Cameras
    """Of the cut and scaled images."""
    box: tuple[int, int, int, int]
    path: Path
    source_frame: list[int]
    warnings: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.camera.names[0]

    @property
    def size_px(self) -> tuple[int, int]:
        w, h = self.camera.size_px[0].tolist()
        return w, h

    def images(self) -> Iterator[ndarray | None]:
        """(h, w, 3) uint8 of every frame; None where there is none, or the clip is damaged from there on."""
        x0, y0, x1, y1 = self.box
        given = 0
        try:
            for image in images_of(self.path, self.source_frame):
                given += 1
                if image is None:
                    yield None
                    continue
                part = image[y0:y1, x0:x1]
                how = cv2.INTER_AREA if self.size_px[0] < part.shape[1] else cv2.INTER_CUBIC
                yield np.asarray(cv2.resize(part, self.size_px, interpolation=how))
        except DamagedClip as damage:
            self.warnings.append(str(damage))
            yield from [None] * (len(self.source_frame) - given)

    def with_hands(self, image: ndarray | None, hands: MovingHands, frame: int, opacity: float) -> ndarray:
        if image is None:
            return films.nothing(self.size_px, f"{self.name}: no image")
        lit = hands.lit(frame, np.eye(3), lamps(self.camera))
        return image if lit is None else draw_over(image, self.camera, lit, opacity)

    def plain(self, image: ndarray | None) -> ndarray:
        return films.nothing(self.size_px, f"{self.name}: no image") if image is None else image


def _footage(shown: ShownMotion, hands: MovingHands, view: int, wish: Request) -> Footage:
    """A view at its full size."""
    assert shown.root is not None
    assert shown.source_frame is not None
    camera = shown.calibrated().subset([view])
    name, size = camera.names[0], camera.size_px[0]
    path = clip_paths(shown.root).get(name)
    if path is None:
        raise SessionError(
            f"{shown.root / 'videos'}: expected the clip of the view {name}, but there is none. "
            "Put it there, choose other --views, or use --turntable."
        )
    box = (0, 0, *size.tolist())
    if wish.crop in HANDS:
        one = project(camera, hands.joints_m[:, HANDS.index(wish.crop)])[0]
        box = hands_box(one, size, wish.size_px or PICTURE_PX, CLOSE)
    elif wish.crop == "hands":
        box = hands_box(project(camera, hands.joints_m)[0], size, None if wish.is_clip else wish.size_px)
    return Footage(camera, box, path, shown.source_frame[view, hands.number].tolist())


def _scaled(one: Footage, cell_px: tuple[int, int], even: bool = False) -> Footage:
    """The same in the largest size that a cell holds."""
    x0, y0, x1, y1 = one.box
    size = films.fitted((x1 - x0, y1 - y0), cell_px)
    size = _even(size) if even else size
    return Footage(through(one.camera, one.box, size), one.box, one.path, one.source_frame)


def _render_footage(shown: ShownMotion, hands: MovingHands, views: Sequence[int], wish: Request) -> list[str]:
    whole = [_footage(shown, hands, view, wish) for view in views]
    draw = _write_grid if wish.is_clip else _write_sheet
    used = draw(whole, hands, wish)
    return [text for one in used for text in one.warnings]


def _write_grid(whole: Sequence[Footage], hands: MovingHands, wish: Request) -> list[Footage]:
    """A clip; several views in a grid."""
    x0, y0, x1, y1 = whole[0].box
    shape, tiles = (x1 - x0, y1 - y0), len(whole) * (1 + wish.beside)
    size = wish.size_px or (_smaller(shape, CLIP_PX) if tiles == 1 else CLIP_PX)
    size, columns = _even(size), films.columns_for(tiles, shape, size)
    cell = (size[0] // columns, size[1] // -(-tiles // columns))
    views = [_scaled(one, cell, even=tiles == 1) for one in whole]

    def picture(item: tuple[int, tuple[ndarray | None, ...]]) -> ndarray:
        frame, images = item
        made = []
        for one, image in zip(views, images, strict=True):
            made += [one.plain(image).copy()] if wish.beside else []
            made.append(one.with_hands(image, hands, frame, wish.opacity))
            if len(views) > 1:
                films.label(made[-1], one.name)
        return films.grid(made, columns, size)

    films.write_clip(
        wish.out, _side_by_side(picture, enumerate(zip(*(one.images() for one in views), strict=True))), hands.fps
    )
    return views


def _write_sheet(whole: Sequence[Footage], hands: MovingHands, wish: Request) -> list[Footage]:
    """A picture: one row for each view, or two, one column for each moment; of one moment, one column for each view."""
    views = [_scaled(one, wish.size_px or PICTURE_PX) for one in whole]
    smallest = np.array([one.size_px for one in views]).min(axis=0)
    rows: list[list[ndarray]] = []
    for one in views:
        images = list(one.images())
        drawn = [one.with_hands(image, hands, frame, wish.opacity) for frame, image in enumerate(images)]
        for made in ([[one.plain(image) for image in images]] if wish.beside else []) + [drawn]:
            rows.append([_cut(tile, smallest) for tile in made])
    if len(hands) == 1:
        each = 1 + wish.beside
        rows = [[row[0] for row in rows[k::each]] for k in range(each)]
    films.write_picture(wish.out, films.sheet([tile for row in rows for tile in row], len(rows[0])))
    return views


def _cut(image: ndarray, size_px: ndarray) -> ndarray:
    """The middle of an image."""
    y, x = (image.shape[0] - size_px[1]) // 2, (image.shape[1] - size_px[0]) // 2
    return image[y : y + size_px[1], x : x + size_px[0]]


def _smaller(shape: tuple[int, int], size_px: tuple[int, int]) -> tuple[int, int]:
    return shape if shape[0] <= size_px[0] and shape[1] <= size_px[1] else films.fitted(shape, size_px)


def _even(size_px: tuple[int, int]) -> tuple[int, int]:
    """Sizes that H.264 can have."""
    return max(2, size_px[0] // 2 * 2), max(2, size_px[1] // 2 * 2)


def _side_by_side(make: Callable[[Item], Made], items: Iterable[Item]) -> Iterator[Made]:
    """Results in order, made by some threads a little ahead: OpenCV and NumPy compute at the same time."""
    left = iter(items)
    with ThreadPoolExecutor(THREADS) as pool:
        running = [pool.submit(make, item) for item in islice(left, AHEAD)]
        while running:
            done = running.pop(0).result()
            running += [pool.submit(make, item) for item in islice(left, 1)]
            yield done
