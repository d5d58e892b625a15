"""MMPose's JSON: of its demos and of its inferencer."""

# Ring 2: reads and writes.

from __future__ import annotations

from typing import Any

import numpy as np

from ....core.hands import NUM_JOINTS
from ..format import File2d, Keypoints2dFormat
from ..hands import NO_VOTE, Hand2d, ImageHands

NUM_WHOLE_BODY = 133
WHOLE_BODY_HANDS = ((slice(91, 112), 0.0), (slice(112, 133), 1.0))
"""COCO-WholeBody's 133 keypoints: where the left and the right hand are, and the probability of a right one."""


def _read(file: File2d) -> list[ImageHands]:
    # A demo writes a dictionary and numbers a video's frames from 1; the inferencer writes a list and counts from 0.
    demo = isinstance(file.data, dict)
    return _images(file, file.data["instance_info"] if demo else file.data, first=int(demo))


def _images(file: File2d, info: Any, first: int) -> list[ImageHands]:
    """A video's frames with `frame_id` and `instances`, or one image's instances."""
    frames = file.list_of(info, "instance_info", dict)
    if not any("instances" in frame for frame in frames):
        return [ImageHands(str(file.path), file.name, None, _instances(file, frames, "instances"))]
    found = []
    for i, frame in enumerate(frames):
        number, place = frame.get("frame_id"), f"frame {i} of the list"
        if not isinstance(number, int) or isinstance(number, bool):
            file.wrong(f"{place}.frame_id", "a whole number", number)
        hands = _instances(file, file.list_of(frame.get("instances"), f"{place}.instances", dict), place)
        found.append(ImageHands(f"{file.path}: {place}", file.name, number, hands, first=first))
    return found


def _instances(file: File2d, instances: list[dict[str, Any]], place: str) -> list[Hand2d]:
    hands = []
    for i, instance in enumerate(instances):
        where = f"{place}[{i}]"
        # A list of one person's keypoints is how some versions write an instance.
        points = file.numbers(instance.get("keypoints"), f"{where}.keypoints")
        points = points[0] if points.ndim == 3 and len(points) == 1 else points
        default = np.ones(len(points)) if points.ndim else np.ones(0)
        confidence = file.numbers(instance.get("keypoint_scores", default), f"{where}.keypoint_scores").ravel()
        if points.ndim == 2 and points.shape[1] == 3:
            points, confidence = points[:, :2], points[:, 2]
        if points.shape not in ((NUM_JOINTS, 2), (NUM_WHOLE_BODY, 2)) or len(confidence) != len(points):
            file.wrong(
                f"{where}.keypoints",
                f"x and y of {NUM_JOINTS} joints of a hand or of {NUM_WHOLE_BODY} of COCO-WholeBody, and as many "
                "keypoint_scores",
                f"keypoints of shape {points.shape} and {len(confidence)} scores",
            )
        parts = ((slice(None), NO_VOTE),) if len(points) == NUM_JOINTS else WHOLE_BODY_HANDS
        hands += [file.hand(points[part], confidence[part], right) for part, right in parts]
    return [hand for hand in hands if hand is not None]


def _recognizes(data: Any) -> bool:
    if isinstance(data, dict):
        return "instance_info" in data
    return isinstance(data, list) and all(isinstance(each, dict) for each in data)


FORMAT = Keypoints2dFormat(
    name="mmpose",
    title="MMPose's JSON",
    suffixes=(".json",),
    reads="what the demos write (`instance_info`, frames from 1) or the inferencer (`pred_out_dir`, frames from 0)",
    content="`instance_info`, or a list of instances",
    sides="133 joints: as they say; 21 joints: no vote",
    recognizes=_recognizes,
    read=_read,
)
