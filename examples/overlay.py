"""Draw the fitted hands over frames of some views.

python examples/overlay.py SESSION OUT.png [--frame 20] [--views c0 c7 c21 c40]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from handpipe.capture.session import read_session
from handpipe.capture.settings import CaptureSettings
from handpipe.capture.video import read_frames
from handpipe.core.hands import BONES, HANDS
from handpipe.core.storage.schema import read_cameras
from handpipe.core.storage.store import Store

COLORS_BGR = {"left": (60, 140, 255), "right": (255, 170, 40)}


def draw(image: np.ndarray, joints_px: np.ndarray, color: tuple[int, int, int]) -> None:
    """The 20 bones of one hand, (joint, 2) pixels."""
    points = [tuple(round(16 * v) for v in point) for point in joints_px]
    for thick, shade in ((5, (20, 20, 20)), (2, color)):
        for parent, child in BONES:
            cv2.line(image, points[parent], points[child], shade, thick, cv2.LINE_AA, shift=4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("session", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--frame", type=int, default=20)
    parser.add_argument("--views", nargs="+", default=None)
    options = parser.parse_args()
    session = read_session(options.session, CaptureSettings())
    store = Store(str(options.session / "session.zarr"))
    joints_m = store.read("mano", "joints", options.frame).astype(float)
    cameras = read_cameras(store)
    names = options.views or session.views[:4]
    rows: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for name in names:
        view = session.views.index(name)
        index = int(session.timeline.source_frame[view, options.frame])
        image = next(read_frames(session.clips[view], [index]))
        drawn = image.copy()
        for hand, joints_px in zip(HANDS, cameras.project(joints_m)[view], strict=True):
            if np.isfinite(joints_px).all():
                draw(drawn, joints_px, COLORS_BGR[hand])
        rows[0].append(image)
        rows[1].append(drawn)
    picture = np.concatenate([np.concatenate(row, axis=1) for row in rows])
    cv2.imwrite(str(options.out), cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))


if __name__ == "__main__":
    main()
