"""The detector that a rig has learnt: MediaPipe says where hands are, the rig's network where their joints are."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy import ndarray

from ...core.errors import ConfigError
from ...core.hands import NUM_JOINTS
from ..detector import Candidates, MediaPipeDetector
from ..settings import DetectionSettings
from .crops import cut, region, to_pixels
from .detector_file import VERSION, KnownDetector, load_detector
from .network import CROP_PX, fused

PASSES = 2
"""Times that the network looks: the second crop is about what it found in the first."""
SIGMA_OF_SCALE = 3**0.5
"""Standard deviation per axis, in s, of a point at a distance r with the density exp(-r / s) / (2 pi s^2)."""
BEST_SCALE = 0.012
"""Uncertainty, in sides of the crop, from which on a hand has the full score."""
UNSURE = 0.03
"""Median standard error of a hand's joints, in its size, above which the network may have taken it for something else.
In the small session, hands of which detectors of other rigs said more than this, farther than AWAY from MediaPipe's
landmarks, were off by 0.16 to 0.25, and the landmarks by 0.09."""
AWAY = 0.1
"""Distance from MediaPipe's landmarks, mean over the joints, in sizes of the hand; theirs is usually 0.05."""
MIN_PRESENT = 0.5
"""Probability of a hand in a region that is only expected to show one."""
SAME_HAND = 0.15
"""Median distance of two candidates' joints, in sizes of the hand, below which they are one hand found twice."""
CODE = 5
"""Version of this code. Increase it when results change for the same file and image."""


@dataclass(frozen=True)
class Refined:
    """The joints of hands in an image, by the network."""

    points_px: ndarray
    """(hand, 21, 2) pixels of the image."""
    scale: ndarray
    """(hand, 21) scale of the Laplace distribution of each joint, in sides of the crop."""
    sigma_px: ndarray
    """(hand, 21) standard error of each joint, per axis, in pixels of the image; NaN where it is not known."""
    right: ndarray
    """(hand,) probability of a right hand."""
    present: ndarray
    """(hand,) probability of a hand."""

    @property
    def score(self) -> ndarray:
        """(hand,) 0 to 1: the weight of its squared errors, relative to a hand that is sure."""
        sure = (BEST_SCALE / np.maximum(np.median(self.scale, axis=-1), BEST_SCALE)) ** 2
        return self.present * sure

    def take(self, index: Sequence[int] | ndarray) -> Refined:
        """Some of the hands."""
        rows = np.asarray(index, int)
        return Refined(*(a[rows] for a in (self.points_px, self.scale, self.sigma_px, self.right, self.present)))


def refine(
    known: KnownDetector, image_bgr: ndarray, hands_px: ndarray, right: ndarray, passes: int = PASSES
) -> Refined:
    """Find the joints of hands whose places are roughly known.

    Args:
        known: the detector.
        image_bgr: (height, width, 3) uint8.
        hands_px: (hand, 21, 2) roughly, pixels; NaN where unknown.
        right: (hand,) probability that it is a right hand.
        passes: how many times the network looks.
    """
    device = next(known.network.parameters()).device
    points, is_right = hands_px.astype(float), right.astype(float)
    nothing = np.zeros((len(points), NUM_JOINTS))
    found = Refined(points, nothing, nothing, is_right, np.zeros(len(points)))
    for _ in range(passes if len(points) else 0):
        mirror = is_right < 0.5
        matrices = np.stack([region(hand, bool(flip)) for hand, flip in zip(points, mirror, strict=True)])
        crops = np.stack([cut(image_bgr, M, CROP_PX) for M in matrices]).transpose(0, 3, 1, 2)
        with torch.inference_mode():
            images = torch.from_numpy(np.ascontiguousarray(crops)).to(device).float() / 255
            said = known.network(images.contiguous(memory_format=torch.channels_last))
        xy, scale, odds, present = (
            x.double().cpu().numpy()
            for x in (said.xy, said.log_scale.exp(), said.right, said.present)
        )  # fmt: skip
        turned = to_pixels(xy) - matrices[:, None, :, 2]
        points = np.linalg.solve(matrices[:, None, :, :2], turned[..., None])[..., 0]
        seen_right = 1 / (1 + np.exp(-odds))
        is_right = np.where(mirror, 1 - seen_right, seen_right)
        side_px = CROP_PX / np.sqrt(np.abs(np.linalg.det(matrices[:, :, :2])))
        found = Refined(points, scale, SIGMA_OF_SCALE * scale * side_px[:, None], is_right, 1 / (1 + np.exp(-present)))
    return found


class RigDetector:
    """Both networks on single images: each result depends on its image only."""

    gives_sigma = True

    @staticmethod
    def version() -> str:
        """What the results depend on besides the file."""
        return f"rig detector {VERSION}.{CODE}, {MediaPipeDetector.version()}"

    @staticmethod
    def model(options: DetectionSettings) -> Path:
        """Path of the detector's file, which is checked. Raises ModelError or ConfigError."""
        if options.model is not None:
            raise ConfigError(
                f"'detection.model': expected none with the detector {options.detector}, which is a model file itself, "
                f"but found {options.model}. Remove it."
            )
        path = Path(options.detector).expanduser()
        load_detector(path)
        return path

    def __init__(self, options: DetectionSettings) -> None:
        # Convolutions sum in another order on more threads, and the engine's limit may be older than PyTorch's import.
        torch.set_num_threads(1)
        known = load_detector(self.model(options))
        self._known = replace(known, network=fused(known.network))
        self._regions = MediaPipeDetector(replace(options, detector="mediapipe", model=None))

    def detect(self, image_bgr: ndarray) -> Candidates:
        """Find hands in a (height, width, 3) uint8 image."""
        found = self._regions.detect(image_bgr)
        refined = refine(self._known, image_bgr, found.points_px, found.right)
        return candidates(surer(refined, found), image_bgr.shape)

    def detect_near(self, image_bgr: ndarray, hands_px: ndarray, right: ndarray) -> list[Candidates]:
        """Look for hands that are expected at (hand, 21, 2) pixels, NaN where unknown, all at once."""
        # One pass: the region is better known than from MediaPipe's landmarks.
        found = refine(self._known, image_bgr, hands_px, right.astype(float), passes=1)
        present = [[hand] if found.present[hand] >= MIN_PRESENT else [] for hand in range(len(hands_px))]
        return [candidates(found.take(hand), image_bgr.shape) for hand in present]


def surer(said: Refined, landmarks: Candidates) -> Refined:
    """The hands, but as MediaPipe's landmarks where the network is unsure and far away from them.

    The network has only learnt the images of its sessions. A hand unlike these, it takes at times for the other hand.
    """
    size_px = np.ptp(landmarks.points_px.astype(float), axis=1).max(-1, initial=0.0)
    away_px = np.linalg.norm(said.points_px - landmarks.points_px, axis=-1).mean(-1)
    lost = (np.median(said.sigma_px, axis=-1) > UNSURE * size_px) & (away_px > AWAY * size_px)
    scale = np.full(said.scale.shape, BEST_SCALE)  # The score is MediaPipe's.
    untold = np.full(said.sigma_px.shape, np.nan)
    other = Refined(landmarks.points_px, scale, untold, landmarks.right, landmarks.score)

    def chosen(name: str) -> ndarray:
        own = getattr(said, name)
        return np.where(lost.reshape(-1, *[1] * (own.ndim - 1)), getattr(other, name), own)

    return Refined(*(chosen(name) for name in Refined.__dataclass_fields__))


def candidates(found: Refined, shape: Sequence[int]) -> Candidates:
    """The hands as candidates, best first; one that was found twice, or lies outside the image, once or not at all."""
    score = found.score
    middle = np.median(found.points_px, axis=1) if len(score) else np.zeros((0, 2))
    inside = np.all((middle > -0.5) & (middle < np.array([shape[1], shape[0]]) - 0.5), axis=-1)
    kept: list[int] = []
    for i in np.argsort(-score, kind="stable"):
        if inside[i] and not any(_same(found, int(i), other) for other in kept):
            kept.append(int(i))
    best = found.take(kept)
    numbers = (best.points_px, best.score, best.right, best.sigma_px)
    return Candidates(*(part.astype(np.float32) for part in numbers))


def _same(found: Refined, a: int, b: int) -> bool:
    """Whether two hands of the same side lie on each other."""
    size = float(np.ptp(found.points_px[b], axis=0).max())
    away = float(np.median(np.linalg.norm(found.points_px[a] - found.points_px[b], axis=-1)))
    return (found.right[a] > 0.5) == (found.right[b] > 0.5) and away < SAME_HAND * size
