"""MediaPipe's two hand networks on PyTorch: the detector `mediapipe-torch`, for machines with a GPU.

It needs no MediaPipe, only its model bundle. The networks say what they say in MediaPipe; the regions between them are
laid anew, so that landmarks are not quite MediaPipe's.
"""

# Ring 2: reads and writes.

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from ...core.errors import ModelError
from ...core.hands import NUM_JOINTS
from ..detector import Candidates
from ..settings import DetectionSettings
from .bundle import LANDMARKS, PALMS, resolve
from .graph import Network
from .landmarks import OUTPUTS, landmark_region
from .palms import OUTPUTS as PALM_OUTPUTS
from .palms import SIDE_PX, hand_region, input_matrix, palms

CODE = 1
"""Version of this code. Increase it when results change for the same image."""
SAME_HAND = 0.15
"""Mean distance of the joints of two hands, in sizes of the hand, below which they are one, found from two palms."""


def device() -> torch.device:
    """A GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class TorchMediaPipe:
    """Both networks on single images: each result depends on its image only."""

    @staticmethod
    def version() -> str:
        """What the results depend on besides the bundle: other devices round differently."""
        return f"mediapipe-torch {CODE} on {device().type}, torch {torch.__version__}"

    @staticmethod
    def model(options: DetectionSettings) -> Path:
        """Path of the model bundle; it is built if it does not exist. Raises ModelError."""
        return resolve(options.model)

    def __init__(self, options: DetectionSettings) -> None:
        # Convolutions sum in another order on more threads, and the engine's limit may be older than PyTorch's import.
        torch.set_num_threads(1)
        self._options, self._device = options, device()
        path = self.model(options)
        self._palms = _network(path, PALMS, PALM_OUTPUTS, self._device)
        self._landmarks = _network(path, LANDMARKS, OUTPUTS, self._device)
        self._side_px = self._landmarks.shape[0]

    def detect(self, image_bgr: ndarray) -> Candidates:
        """Find hands in a (height, width, 3) uint8 image."""
        M = input_matrix(image_bgr.shape[1::-1])
        # Around the image it is black, as where MediaPipe looks for palms.
        crop = cv2.warpAffine(image_bgr, M, (SIDE_PX, SIDE_PX), flags=cv2.INTER_LINEAR)
        said = self._run(self._palms, crop[None])
        options = self._options
        found = palms(said["Identity"][0], said["Identity_1"][0, :, 0], options.min_detection, options.candidates)
        palms_px = _in_image(found * SIDE_PX, M)
        hands, present = self._seen(image_bgr, [hand_region(palm_px, self._side_px) for palm_px in palms_px])
        kept: list[int] = []
        for at in np.flatnonzero(present).tolist():
            if all(_away(hands.points_px[at], hands.points_px[other]) > SAME_HAND for other in kept):
                kept.append(at)
        return hands.take(kept)

    def detect_near(self, image_bgr: ndarray, hands_px: ndarray, right: ndarray) -> list[Candidates]:
        """Find hands that are expected at (hand, 21, 2) pixels, NaN where unknown, all at once."""
        del right  # The network recognises both.
        hands, present = self._seen(image_bgr, [landmark_region(hand_px, self._side_px) for hand_px in hands_px])
        return [hands.take([at] if present[at] else []) for at in range(len(hands_px))]

    def _seen(self, image_bgr: ndarray, regions: Sequence[ndarray]) -> tuple[Candidates, ndarray]:
        """What the landmark network says of each region (2, 3), and whether there is a hand."""
        side = self._side_px
        if not regions:
            nothing = np.zeros(0, np.float32)
            return Candidates(np.zeros((0, NUM_JOINTS, 2), np.float32), nothing, nothing), nothing.astype(bool)
        crops = [
            cv2.warpAffine(image_bgr, M, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            for M in regions
        ]
        said = self._run(self._landmarks, np.stack(crops))
        points, present, right = (said[name] for name in OUTPUTS)
        in_crop = points.reshape(-1, NUM_JOINTS, 3)[..., :2].astype(float)
        found = np.stack([_in_image(hand, M) for hand, M in zip(in_crop, regions, strict=True)]) - 0.5
        is_right = np.clip(right[:, 0], 0, 1)
        score = np.maximum(is_right, 1 - is_right)  # As MediaPipe's.
        hands = Candidates(found.astype(np.float32), score, is_right)
        return hands, present[:, 0] >= self._options.min_presence

    def _run(self, network: Network, crops_bgr: ndarray) -> dict[str, ndarray]:
        """The outputs of a network for (crop, height, width, 3) uint8."""
        exact = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
        with torch.inference_mode(), exact:
            images = torch.from_numpy(np.ascontiguousarray(crops_bgr[..., ::-1])).to(self._device)
            said: dict[str, Tensor] = network(images.float() / 255)
        return {name: values.cpu().numpy() for name, values in said.items()}


def _network(path: Path, member: str, values: Mapping[str, int], device: torch.device) -> Network:
    """A network of the bundle, with so many values in each output."""
    advice = "Correct `detection.model`, or remove it to use the standard model."
    try:
        with zipfile.ZipFile(path) as parts:
            content = parts.read(member)
        network = Network(content, member).to(device).eval()
        with torch.inference_mode():
            said = network(torch.zeros(1, *network.shape, device=device))
    except (KeyError, ModelError, zipfile.BadZipFile) as error:
        raise ModelError(
            f"{path}: expected MediaPipe's networks for hands, but {member} cannot be used ({error}). {advice}"
        ) from error
    found = {name: int(x.numel()) for name, x in said.items()}
    if any(found.get(name) != count for name, count in values.items()) or network.shape[0] != network.shape[1]:
        raise ModelError(
            f"{path}: expected a square image as input and {dict(values)} values as output of {member}, but found "
            f"{list(network.shape)} and {found}. {advice}"
        )
    return network


def _in_image(points: ndarray, M: ndarray) -> ndarray:
    """Points (..., 2) of a crop in pixels of the image; M (2, 3) leads from these to the crop."""
    return (points - M[:, 2]) @ np.linalg.inv(M[:, :2]).T


def _away(hand_px: ndarray, other_px: ndarray) -> float:
    size_px = float(np.ptp(other_px, axis=0).max())
    return float(np.linalg.norm(hand_px - other_px, axis=-1).mean()) / max(size_px, 1.0)
