"""Render motion of two hands as a clip and as a contact sheet, seen from the person's own viewpoint.

python examples/animate.py OUT.zarr --sample 0 --out clip.mp4 --sheet sheet.png --keyframes 0,30,59

The input is a fitted session or generated motion. Clips can be .mp4, .gif or .webp, which a README can show. Keyframes,
numbered as in the store, are outlined in the sheet and marked in the clip. Lines show the paths of the fingertips.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy import ndarray
from scipy.interpolate import CubicSpline

from handpipe.capture.video import clip_writer
from handpipe.core.cameras import Cameras
from handpipe.core.hands import HANDS, TIPS
from handpipe.generation.evaluation.evaluator import two_hand_frame
from handpipe.generation.model.canonical_frame import nearest_rotation
from handpipe.hand.loading import hand_models
from handpipe.hand.model import HandModel
from handpipe.hand.stored_motion import COLUMNS, motion_store, stored_motion
from handpipe.rendering.render import STUDIO, light_hands, render_hands
from handpipe.rendering.skin import HandSkin, hand_skin

FINE = 2
"""Pixels rendered for each pixel shown, in both directions."""
FOCAL = 2.2
"""Focal length over the image's height: a short telephoto."""
MARGIN = 1.15
"""Room around the motion."""
TABLE_M = 0.03
"""Distance from the lowest point of the motion to the plane of its shadow, metres."""
TRAIL_S = 0.5
SHEET_PX = 1600
"""Width of the sheet, at most."""
HAND_BGR = {"left": (80, 160, 255), "right": (255, 190, 90)}
KEY_BGR = (40, 170, 255)
PAPER_BGR = np.array([150.0, 132.0, 120.0])


@dataclass(frozen=True)
class Motion:
    """One motion in the frame of its hands: x to their owner's right, y along the fingers, z out of the backs."""

    vertices_m: ndarray
    """(frame, hand, 778, 3)"""
    joints_m: ndarray
    """(frame, hand, 21, 3)"""
    faces: ndarray
    """(face, 3) of either hand."""
    skins: Sequence[HandSkin]
    number: ndarray
    """(frame,) of each frame in the store."""
    fps: float


def read_motion(name: str, sample: int, frames: slice, fps: float, models: Sequence[HandModel]) -> Motion:
    """Read frames of a sample, subsampled to about `fps` frames per second."""
    stored = stored_motion(name, motion_store(name))
    if [model.model_id for model in models] != list(stored.hand_model):
        raise SystemExit(
            f"{name}: the motion is for the hand models {stored.hand_model}. Give their folder with --models."
        )
    step = max(1, round(stored.fps / fps))
    number = np.arange(stored.valid.shape[1])[frames][::step]
    numbers = stored.load(sample, 0, stored.valid.shape[1])[number].astype(float)
    pose = {key: numbers[..., columns] for key, columns in COLUMNS.items()}
    hands = [
        {"betas": stored.betas[sample, h].astype(float), **{key: part[:, h] for key, part in pose.items()}}
        for h in range(len(HANDS))
    ]
    joints = np.stack([model.joints(**hand) for model, hand in zip(models, hands, strict=True)], axis=1)
    vertices = np.stack([model.vertices(**hand) for model, hand in zip(models, hands, strict=True)], axis=1)
    R = nearest_rotation(two_hand_frame(torch.from_numpy(joints))[0].mean(dim=0)).numpy()
    skins = [
        hand_skin({"v_template": model.v_template, "f": model.faces, "J": model.rest_joints}, model.side)
        for model in models
    ]
    return Motion(vertices @ R.T, joints @ R.T, models[0].faces, skins, number, stored.fps / step)


# ---- one picture ---------------------------------------------------------------------------------------------------


def fitted_camera(points_m: ndarray, size_px: tuple[int, int], azimuth_deg: float, elevation_deg: float) -> Cameras:
    """The nearest camera that looks this way and has all of (n, 3) points in its picture.

    A point is inside the right edge when x - cx <= t (z - cz), and so on: for each edge only the outermost point
    counts, and two opposite edges meet at the camera.
    """
    w, h = size_px
    a, e = np.radians([azimuth_deg, elevation_deg])
    x = np.array([np.cos(a), -np.sin(a), 0.0])
    z = np.array([np.sin(a) * np.cos(e), np.cos(a) * np.cos(e), -np.sin(e)])
    R = np.stack([x, np.cross(z, x), z])
    p = points_m @ R.T
    tangent = np.array([w, h]) / (2 * FOCAL * h * MARGIN)
    high = (p[:, :2] - tangent * p[:, 2:]).max(axis=0)
    low = (-p[:, :2] - tangent * p[:, 2:]).max(axis=0)
    T = np.eye(4)
    T[:3, :3] = R
    T[:3, 3] = -np.append((high - low) / 2, (-(high + low) / (2 * tangent)).min())
    K = np.array([[FOCAL * h, 0, (w - 1) / 2], [0, FOCAL * h, (h - 1) / 2], [0, 0, 1]])
    return Cameras(("eye",), K[None], np.zeros((1, 5)), T[None], np.array([[w, h]]))


def backdrop(size_px: tuple[int, int]) -> ndarray:
    """(h, w, 3) float32: a table top, lighter where the light falls."""
    w, h = size_px
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    glow = np.exp(-(((x / w - 0.46) / 0.60) ** 2) - ((y / h - 0.40) / 0.66) ** 2)
    return (PAPER_BGR * (0.45 + 0.60 * glow[..., None])).astype(np.float32)


@dataclass(frozen=True)
class Studio:
    """A camera over a table; draws any frame of a motion."""

    motion: Motion
    camera: Cameras
    table: ndarray
    """(h, w, 3) float32, `backdrop`."""

    def picture(self, frame: int, trail_from: int) -> ndarray:
        """(h, w, 3) uint8, with the fingertips' way since another frame."""
        motion = self.motion
        image = self.table * self._light(motion.vertices_m[frame])[..., None]
        image = self._with_trails(image, motion.joints_m[max(0, trail_from) : frame + 1, :, TIPS])
        hands = light_hands(motion.skins, motion.vertices_m[frame])
        fine = render_hands(self.camera, hands, np.clip(image, 0, 255).astype(np.uint8), seed=frame)
        return np.asarray(cv2.resize(fine, None, fx=1 / FINE, fy=1 / FINE, interpolation=cv2.INTER_AREA))

    def _light(self, vertices_m: ndarray) -> ndarray:
        """(h, w) how much of it reaches the table: the hands' soft shadow."""
        h, w = self.table.shape[:2]
        height_m = vertices_m[..., 2:] - (self.motion.vertices_m[..., 2].min() - TABLE_M)
        on_table = vertices_m - height_m * STUDIO.key / STUDIO.key[2]
        mask = np.zeros((h // 4, w // 4), np.uint8)
        corners = np.round(self.camera.project(on_table)[0][:, self.motion.faces] * (16 / 4)).astype(np.int32)
        for corner in corners.reshape(-1, 3, 2):
            cv2.fillConvexPoly(mask, corner, 255, shift=4)
        soft = cv2.GaussianBlur(mask, (0, 0), 0.02 * h / 4)
        return 1 - 0.5 / 255 * cv2.resize(soft, (w, h), interpolation=cv2.INTER_LINEAR).astype(np.float32)

    def _with_trails(self, image: ndarray, tips_m: ndarray) -> ndarray:
        width = round(image.shape[0] / 130)
        if len(tips_m) > 2:
            tips_m = CubicSpline(np.arange(len(tips_m)), tips_m)(np.linspace(0, len(tips_m) - 1, 4 * len(tips_m)))
        uv = np.round(self.camera.project(tips_m)[0] * 16).astype(np.int32)
        for hand, side in enumerate(HANDS):
            cover = np.zeros(image.shape[:2], np.uint8)
            for k in range(1, len(uv)):
                for start, stop in zip(uv[k - 1, hand], uv[k, hand], strict=True):
                    cv2.line(cover, start, stop, int(230 * (k / len(uv)) ** 1.2), width, cv2.LINE_AA, shift=4)
            alpha = cover[..., None].astype(np.float32) / 255
            image = image * (1 - alpha) + alpha * np.array(HAND_BGR[side], np.float32)
        return image


# ---- many pictures -------------------------------------------------------------------------------------------------


def moments_of(motion: Motion, count: int, keyframes: Sequence[int]) -> list[int]:
    """Evenly spaced frames, the nearest of them replaced by the keyframes."""
    moments = np.linspace(0, len(motion.number) - 1, min(count, len(motion.number))).round().astype(int)
    for key in keyframes:
        moments[np.abs(moments - key).argmin()] = key
    return sorted(set(moments.tolist()))


def sheet(studio: Studio, moments: Sequence[int], keyframes: Sequence[int], columns: int) -> ndarray:
    """(H, W, 4) uint8 with transparency: rounded panels in rows."""
    tiles = []
    for k, moment in enumerate(moments):
        image = studio.picture(moment, moments[k - 1] if k else moment)
        scale = min(1, SHEET_PX / columns / image.shape[1])
        image = np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
        tiles.append(panel(image, f"{moment / studio.motion.fps:.2f} s", moment in keyframes))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    return np.concatenate([np.concatenate(tiles[k : k + columns], 1) for k in range(0, len(tiles), columns)])


def panel(image: ndarray, text: str, is_key: bool) -> ndarray:
    """(h, w, 4): the picture with round corners and its time; a coloured frame around a keyframe."""
    h, w = image.shape[:2]
    gap, border = round(0.012 * w), round(0.018 * w)
    outer = rounded((w, h), gap, 0.05 * w)[..., None]
    inner = rounded((w, h), gap + (border if is_key else 0), 0.05 * w - (border if is_key else 0))[..., None]
    shown = image * inner + np.array(KEY_BGR) * (1 - inner)
    shown = np.ascontiguousarray(shown.astype(np.uint8))
    label = f"{text}   keyframe" if is_key else text
    color = KEY_BGR if is_key else (235, 232, 230)
    cv2.putText(
        shown, label, (round(0.06 * w), h - round(0.055 * w)), color, cv2.FontFace("sans"), round(0.045 * w), 500
    )
    return np.concatenate([shown, (255 * outer).astype(np.uint8)], axis=-1)


def rounded(size_px: tuple[int, int], inset: float, radius: float) -> ndarray:
    """(h, w) 0 to 1: inside a rectangle with round corners."""
    w, h = size_px
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    beyond = np.stack([np.abs(x - (w - 1) / 2) - w / 2, np.abs(y - (h - 1) / 2) - h / 2]) + inset + radius
    return np.clip(radius + 0.5 - np.linalg.norm(np.maximum(beyond, 0), axis=0), 0, 1)


def film(studio: Studio, keyframes: Sequence[int]) -> Iterable[ndarray]:
    """Every frame, above a line of time on which keyframes light up once they are reached."""
    frames = len(studio.motion.number)
    for frame in range(frames):
        image = studio.picture(frame, frame - round(TRAIL_S * studio.motion.fps))
        h, w = image.shape[:2]
        y, x = round(0.955 * h), np.round(w * (0.06 + 0.88 * np.arange(frames) / max(1, frames - 1))).astype(int)
        cv2.line(image, (x[0], y), (x[-1], y), (120, 110, 104), max(1, h // 240), cv2.LINE_AA)
        cv2.line(image, (x[0], y), (x[frame], y), (235, 232, 230), max(1, h // 240), cv2.LINE_AA)
        for key in keyframes:
            color = KEY_BGR if key <= frame else (120, 110, 104)
            cv2.circle(image, (x[key], y), max(3, h // 90), color, cv2.FILLED, cv2.LINE_AA)
        yield image


def write_film(path: Path, pictures: Iterable[ndarray], fps: float, size_px: tuple[int, int]) -> None:
    if path.suffix in (".webp", ".gif"):
        animation = cv2.Animation()
        animation.frames = list(pictures)
        animation.durations = [round(1000 / fps)] * len(animation.frames)
        cv2.imwriteanimation(str(path), animation, [cv2.IMWRITE_WEBP_QUALITY, 80])
        return
    with clip_writer(path, fps, size_px) as writer:
        for picture in pictures:
            writer.write(picture)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("motion", help="a session folder or a Zarr store with a group `mano`")
    parser.add_argument("--sample", type=int, default=0)
    parser.add_argument("--out", type=Path, help="clip to write: .mp4, .webp or .gif")
    parser.add_argument("--sheet", type=Path, help="contact sheet to write: .png")
    parser.add_argument("--keyframes", type=lambda text: [int(part) for part in text.split(",")], default=[])
    parser.add_argument("--start", type=int, default=0, help="first frame")
    parser.add_argument("--frames", type=int, help="number of frames to render")
    parser.add_argument("--fps", type=float, default=30.0, help="approximate frame rate of the clip")
    parser.add_argument("--moments", type=int, default=10, help="panels of the sheet")
    parser.add_argument("--columns", type=int, default=5)
    parser.add_argument("--size", type=int, nargs=2, default=(640, 480), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--azimuth", type=float, default=0.0, help="viewing direction from the left, degrees")
    parser.add_argument("--elevation", type=float, default=60.0, help="viewing direction from above, degrees")
    parser.add_argument("--models", type=Path, help="folder with MANO_LEFT.npz and MANO_RIGHT.npz")
    options = parser.parse_args()
    models = hand_models(str(options.models) if options.models else None)
    stop = None if options.frames is None else options.start + options.frames
    motion = read_motion(options.motion, options.sample, slice(options.start, stop), options.fps, models)
    size = (FINE * options.size[0], FINE * options.size[1])
    camera = fitted_camera(motion.vertices_m.reshape(-1, 3), size, options.azimuth, options.elevation)
    studio = Studio(motion, camera, backdrop(size))
    keyframes = [int(np.abs(motion.number - key).argmin()) for key in options.keyframes]
    if options.sheet:
        moments = moments_of(motion, options.moments, keyframes)
        cv2.imwrite(str(options.sheet), sheet(studio, moments, keyframes, options.columns))
    if options.out:
        write_film(options.out, film(studio, keyframes), motion.fps, options.size)


if __name__ == "__main__":
    main()
