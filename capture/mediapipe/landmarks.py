"""MediaPipe's landmark network on a region that is given to it, without its palm detector.

MediaPipe itself offers no such entry. The network is read from the same bundle, and runs in LiteRT, the runtime that it
is made for.
"""

# Ring 2: reads and writes.

from __future__ import annotations

import zipfile
from importlib.metadata import version as version_of
from pathlib import Path

import cv2
import numpy as np
from numpy import ndarray

from ...core.errors import ModelError
from ...core.hands import JOINTS, NUM_JOINTS
from .bundle import LANDMARKS

SCALE = 1.9
"""Side of the region, in sizes of the hand without the outer half of its fingers; MediaPipe's tracker uses 2.0. The
errors depend on it: in smaller and in larger regions, triangulated joints are worse."""
_SHIFT = 0.1  # The region's middle is moved towards the fingers by this share of that size, as in MediaPipe.
_EXTENT = [i for i, name in enumerate(JOINTS) if not name.endswith(("_dip", "_tip"))]
_WRIST, _INDEX, _MIDDLE, _RING = (JOINTS.index(name) for name in ("wrist", "index_mcp", "middle_mcp", "ring_mcp"))
_MIN_SIZE_PX = 8.0
OUTPUTS = {"Identity": 3 * NUM_JOINTS, "Identity_1": 1, "Identity_2": 1}
"""Of the network, and how many values each has: points in pixels of the input, whether there is a hand, a right one."""


def version() -> str:
    """What the results depend on besides the bundle."""
    return f"ai-edge-litert {version_of('ai-edge-litert')}"


def landmark_region(hand_px: ndarray, size_px: int) -> ndarray:
    """(2, 3) from pixels of the image to pixels of the network's square input, as MediaPipe's tracker lays it.

    Args:
        hand_px: (21, 2) where the hand is expected, NaN where unknown.
        size_px: side of the input.
    """
    up = 0.25 * (hand_px[_INDEX] + hand_px[_RING]) + 0.5 * hand_px[_MIDDLE] - hand_px[_WRIST]
    if not np.isfinite(up).all() or np.hypot(*up) < 1e-6:
        up = np.array([0.0, -1.0])
    up = up / np.hypot(*up)
    R = np.array([[-up[1], up[0]], [-up[0], -up[1]]])
    known = hand_px[_EXTENT][np.isfinite(hand_px[_EXTENT]).all(-1)]
    turned = (known if len(known) else hand_px[np.isfinite(hand_px).all(-1)]) @ R.T
    low, high = turned.min(0), turned.max(0)
    middle = 0.5 * (low + high) - [0.0, _SHIFT * (high - low)[1]]
    zoom = size_px / (SCALE * max(float((high - low).max()), _MIN_SIZE_PX))
    return np.concatenate([zoom * R, ((size_px - 1) / 2 - zoom * middle)[:, None]], axis=1)


class LandmarkNetwork:
    """The network of a bundle, on one thread: each result depends on its image and region only."""

    def __init__(self, bundle: Path) -> None:
        """Load it. Raises ModelError if the bundle's network has other inputs or outputs."""
        from ai_edge_litert.interpreter import Interpreter

        try:
            with zipfile.ZipFile(bundle) as parts:
                content = parts.read(LANDMARKS)
            self._network = Interpreter(model_content=content, num_threads=1)
            self._network.allocate_tensors()
        except (KeyError, ValueError, RuntimeError, zipfile.BadZipFile) as error:
            raise ModelError(
                f"{bundle}: expected MediaPipe's hand landmark network in {LANDMARKS}, but it cannot be loaded "
                f"({error}). Correct `detection.model`, or remove it to use the standard model."
            ) from error
        (entry, *more), outputs = self._network.get_input_details(), self._network.get_output_details()
        sizes = {output["name"]: int(np.prod(output["shape"])) for output in outputs}
        shape = [int(n) for n in entry["shape"]]
        square = len(shape) == 4 and shape[0] == 1 and shape[1] == shape[2] and shape[3] == 3
        if more or not square or any(sizes.get(name) != size for name, size in OUTPUTS.items()):
            raise ModelError(
                f"{bundle}: expected a landmark network with one square image as input and {OUTPUTS} values as "
                f"output, but found {shape} and {sizes}. Remove `detection.model` to use the standard model."
            )
        self._entry, self._size_px = entry["index"], shape[1]
        index = {output["name"]: output["index"] for output in outputs}
        self._outputs = [index[name] for name in OUTPUTS]

    def find(self, image_bgr: ndarray, hand_px: ndarray) -> tuple[ndarray, float, float]:
        """Find the joints of a hand that is expected at (21, 2) pixels of a (height, width, 3) uint8 image.

        Returns:
            (21, 2) pixels, the probability that there is a hand, and that it is a right one.
        """
        size = self._size_px
        M = landmark_region(hand_px, size)
        crop = cv2.warpAffine(image_bgr, M, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        self._network.set_tensor(self._entry, (crop[None, :, :, ::-1] / np.float32(255)).astype(np.float32))
        self._network.invoke()
        points, present, right = (self._network.get_tensor(output).ravel() for output in self._outputs)
        in_crop = points.reshape(NUM_JOINTS, 3)[:, :2].astype(float) - 0.5
        found = np.linalg.solve(M[:, :2], (in_crop - M[:, 2]).T).T
        return found, float(present[0]), float(np.clip(right[0], 0, 1))
