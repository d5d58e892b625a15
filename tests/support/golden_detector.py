"""Goldens of the detector that learns from a rig: its training, and what it makes of an image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from drawn_session import draw
from golden import Golden, Tolerance
from golden_recording import filmed
from hand_scenes import dome, interaction
from numpy import ndarray

from handpipe.capture.detector import Candidates
from handpipe.capture.learning.crops import batch, store
from handpipe.capture.learning.detector import candidates, refine
from handpipe.capture.learning.detector_file import KnownDetector
from handpipe.capture.learning.network import HandNetwork
from handpipe.capture.learning.training import Trainer, train
from handpipe.capture.mediapipe.torch_detector import TorchMediaPipe
from handpipe.capture.regions.expected import see
from handpipe.capture.settings import DetectionSettings
from handpipe.capture.video import read_frames

CONVOLVED = Tolerance(2e-3, 2e-3)
"""Convolutions sum in an order that depends on the processor, and rounding grows from step to step."""


def training(work: Path) -> dict[str, ndarray]:
    """The losses of three steps on crops of drawn hands, and the labels of the last batch."""
    uv = dome(3).project(interaction(2)).reshape(-1, 2, 21, 2)
    crops = [store(draw(hands), hands[side], hands[1 - side], side == 1) for hands in uv for side in (0, 1)]
    losses: list[list[float]] = []
    trainer = Trainer.start(0, torch.device("cpu"))
    train(
        trainer,
        lambda step: batch(crops, 0, step, 4),
        range(3),
        1e-3,
        0,
        lambda _, terms: losses.append([*terms.values()]),
    )
    return {"losses": np.array(losses, np.float32), "xy": batch(crops, 0, 2, 4).xy.numpy()}


def detection(work: Path) -> dict[str, ndarray]:
    """Hands of an image by a network of random weights: the crops, both looks and the way back to the image."""
    torch.manual_seed(0)
    hands = dome(1).project(interaction(1))[0, 0]
    known = KnownDetector(HandNetwork().eval(), {})
    found = candidates(refine(known, draw(hands), hands, np.array([0.1, 0.9])), (480, 640))
    assert found.sigma_px is not None
    return {"points": found.points_px, "score": found.score, "right": found.right, "sigma": found.sigma_px}


def torch_mediapipe(work: Path) -> dict[str, ndarray]:
    """Hands of two rendered images by MediaPipe's networks on PyTorch, in the whole image and where they are."""
    detector = TorchMediaPipe(DetectionSettings())
    images = [next(read_frames(clip, [0])) for clip in filmed().clips[:2]]
    whole = [detector.detect(image) for image in images]
    near = [each for image, hands in zip(images, whole, strict=True)
            for each in detector.detect_near(image, hands.points_px, hands.right > 0.5)]  # fmt: skip
    found = Candidates.joined([*whole, *near])
    return {"points": found.points_px, "score": found.score, "right": found.right}


class Told:
    """Finds the hands of some sides where it is told to look, one pixel away, and both hands in whole images."""

    def __init__(self, hands_px: ndarray, sides: tuple[int, ...]) -> None:
        self.hands_px, self.sides = hands_px, sides

    def detect(self, image_bgr: ndarray) -> Candidates:
        return self._found(self.hands_px + 3.0)

    def detect_near(self, image_bgr: ndarray, hands_px: ndarray, right: ndarray) -> list[Candidates]:
        return [
            self._found(hand[None] + 1.0 if int(side) in self.sides else np.zeros((0, 21, 2)))
            for hand, side in zip(hands_px, right, strict=True)
        ]

    def _found(self, points_px: ndarray) -> Candidates:
        score = np.linspace(0.9, 0.8, len(points_px), dtype=np.float32)
        return Candidates(points_px.astype(np.float32), score, score / 2, np.full(points_px.shape[:2], 2.0, np.float32))


def regions(work: Path) -> dict[str, ndarray]:
    """What is kept of one image where both, one or none of the expected hands are found, and where it is searched."""
    hands, image = dome(1).project(interaction(1))[0, 0], np.zeros((480, 640, 3), np.uint8)
    cases = [((0, 1), False), ((1,), False), ((), False), ((0, 1), True)]
    found = [see(Told(hands, sides), image, hands, search) for sides, search in cases]
    assert all(each.sigma_px is not None for each in found)
    return {
        "counts": np.array([len(each.score) for each in found]),
        "points": np.concatenate([each.points_px for each in found]),
        "score": np.concatenate([each.score for each in found]),
    }


LEARNING = "handpipe.capture.learning"

GOLDENS = (
    Golden("detector_training", f"{LEARNING}.run", training, {"losses": Tolerance(0.05), "xy": CONVOLVED}),
    Golden("expected_regions", "handpipe.capture.regions.expected", regions, {"*": Tolerance(1e-3)}),
    Golden(
        "mediapipe_torch",
        "handpipe.capture.mediapipe.torch_detector",
        torch_mediapipe,
        {"points": Tolerance(0.2), "*": CONVOLVED},
    ),
    Golden("rig_detector", f"{LEARNING}.detector", detection, {"points": Tolerance(0.2), "*": CONVOLVED}),
)
