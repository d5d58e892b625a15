"""2D hands in JSON, as OpenPose, MMPose and COCO-WholeBody write them. What a file is, its content tells.

All three number a hand's joints as MediaPipe does: wrist, then thumb, index, middle, ring, pinky from root to tip.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from ...core.errors import SessionError
from ...core.files import numbers_in
from ...core.hands import NUM_JOINTS
from .hands import NO_VOTE, Hand2d, ImageHands, hand_of

MAX_BYTES = 2**30
"""JSON is held in memory whole, at several times its size."""

NUM_WHOLE_BODY = 133
WHOLE_BODY_HANDS = ((slice(91, 112), 0.0), (slice(112, 133), 1.0))
"""COCO-WholeBody's 133 keypoints: where the left and the right hand are, and the probability of a right one."""


def decode(path: Path, content: bytes) -> Any:
    """The value in a JSON file. Raises SessionError."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise SessionError(
            f"{path}: expected JSON, but it cannot be read ({error}). The file may be cut off: write it again."
        ) from error


def pictures(path: Path, name: str, data: Any, min_confidence: float) -> list[ImageHands]:
    """The images that a file tells of.

    Args:
        path: the file, for messages.
        name: its path as far as it tells the view and the frame.
        data: its content.
        min_confidence: joints of this confidence or less count as missing.

    Raises:
        SessionError: none of the three formats, another number of joints, or no numbers.
    """
    reader = _Reader(path, name, min_confidence)
    if isinstance(data, dict) and "people" in data:
        return [reader.openpose(data)]
    if isinstance(data, dict) and "instance_info" in data:
        # MMPose's demo numbers a video's frames from 1, its inferencer from 0.
        return reader.mmpose(data["instance_info"], first=1)
    if isinstance(data, dict) and {"images", "annotations"} <= data.keys():
        return list(reader.coco(data))
    if isinstance(data, list) and all(isinstance(each, dict) for each in data):
        return reader.mmpose(data, first=0)
    found = f"the keys {', '.join(sorted(map(str, data))[:8])}" if isinstance(data, dict) else type(data).__name__
    raise SessionError(
        f"{path}: expected OpenPose's JSON (`people`), MMPose's (`instance_info`, or a list of instances) or "
        f"COCO-WholeBody's (`images` and `annotations`), but found {found}. Convert it, or write an npz."
    )


class _Reader:
    """One file, read with errors that name the place in it."""

    def __init__(self, path: Path, name: str, min_confidence: float) -> None:
        self.path, self.name, self.min_confidence = path, name, min_confidence

    def openpose(self, data: Mapping[str, Any]) -> ImageHands:
        """One frame: people with hand_left_keypoints_2d and hand_right_keypoints_2d, 21 times x, y, confidence."""
        hands = []
        for i, person in enumerate(self._list(data["people"], "people", dict)):
            for side, right in (("left", 0.0), ("right", 1.0)):
                key = f"hand_{side}_keypoints_2d"
                hands += self._triplets(person.get(key, []), f"people[{i}].{key}", right)
        return ImageHands(str(self.path), self.name, None, hands)

    def mmpose(self, info: Any, first: int) -> list[ImageHands]:
        """A video's frames with `frame_id` and `instances`, or one image's instances."""
        frames = self._list(info, "instance_info", dict)
        if not any("instances" in frame for frame in frames):
            return [ImageHands(str(self.path), self.name, None, self._instances(frames, "instances"))]
        found = []
        for i, frame in enumerate(frames):
            number, place = frame.get("frame_id"), f"frame {i} of the list"
            if not isinstance(number, int) or isinstance(number, bool):
                self._wrong(f"{place}.frame_id", "a whole number", number)
            hands = self._instances(self._list(frame.get("instances"), f"{place}.instances", dict), place)
            found.append(ImageHands(f"{self.path}: {place}", self.name, number, hands, first=first))
        return found

    def _instances(self, instances: list[dict[str, Any]], place: str) -> list[Hand2d]:
        hands = []
        for i, instance in enumerate(instances):
            where = f"{place}[{i}]"
            # A list of one person's keypoints is how some versions write an instance.
            points = self._numbers(instance.get("keypoints"), f"{where}.keypoints")
            points = points[0] if points.ndim == 3 and len(points) == 1 else points
            default = np.ones(len(points)) if points.ndim else np.ones(0)
            confidence = self._numbers(instance.get("keypoint_scores", default), f"{where}.keypoint_scores").ravel()
            if points.ndim == 2 and points.shape[1] == 3:
                points, confidence = points[:, :2], points[:, 2]
            if points.shape not in ((NUM_JOINTS, 2), (NUM_WHOLE_BODY, 2)) or len(confidence) != len(points):
                self._wrong(
                    f"{where}.keypoints",
                    f"x and y of {NUM_JOINTS} joints of a hand or of {NUM_WHOLE_BODY} of COCO-WholeBody, and as many "
                    "keypoint_scores",
                    f"keypoints of shape {points.shape} and {len(confidence)} scores",
                )
            parts = ((slice(None), NO_VOTE),) if len(points) == NUM_JOINTS else WHOLE_BODY_HANDS
            hands += [self._hand(points[part], confidence[part], right) for part, right in parts]
        return [hand for hand in hands if hand is not None]

    def coco(self, data: Mapping[str, Any]) -> Iterator[ImageHands]:
        """Images by file name, annotations with lefthand_kpts and righthand_kpts, 21 times x, y, visibility."""
        hands: dict[Any, list[Hand2d]] = {}
        names: dict[Any, Mapping[str, Any]] = {}
        for i, image in enumerate(self._list(data["images"], "images", dict)):
            if not isinstance(image.get("file_name"), str) or not isinstance(image.get("id"), int | str):
                self._wrong(f"images[{i}]", "an id and a file_name", image)
            names[image["id"]] = image
            hands[image["id"]] = []
        for i, person in enumerate(self._list(data["annotations"], "annotations", dict)):
            if not isinstance(person.get("image_id"), int | str) or person["image_id"] not in hands:
                self._wrong(f"annotations[{i}].image_id", "the id of one of the images", person.get("image_id"))
            for side, right in (("left", 0.0), ("right", 1.0)):
                key = f"{side}hand_kpts"
                if person.get(f"{side}hand_valid", True):
                    hands[person["image_id"]] += self._triplets(person.get(key, []), f"annotations[{i}].{key}", right)
        for key, image in names.items():
            where = f"{self.path}: image {image['file_name']}"
            known = (image["width"], image["height"]) if {"width", "height"} <= image.keys() else None
            if known is not None and not all(isinstance(side, int) for side in known):
                self._wrong(f"image {image['file_name']}", "width and height as whole numbers", known)
            yield ImageHands(where, image["file_name"], None, hands[key], known)

    def _triplets(self, values: Any, place: str, right: float) -> list[Hand2d]:
        """No hand from an empty list, else at most one."""
        numbers = self._numbers(values, place)
        if numbers.size == 0:
            return []
        if numbers.size != 3 * NUM_JOINTS:
            self._wrong(
                place, f"{NUM_JOINTS} joints as x, y, confidence ({3 * NUM_JOINTS} numbers)", f"{numbers.size} numbers"
            )
        numbers = numbers.reshape(NUM_JOINTS, 3)
        hand = self._hand(numbers[:, :2], numbers[:, 2], right)
        return [] if hand is None else [hand]

    def _hand(self, points: ndarray, confidence: ndarray, right: float) -> Hand2d | None:
        return hand_of(points, confidence, right, self.min_confidence)

    def _list(self, value: Any, place: str, kind: type) -> list[Any]:
        if not isinstance(value, list) or not all(isinstance(each, kind) for each in value):
            self._wrong(place, "a list of objects", value)
        return value

    def _numbers(self, value: Any, place: str) -> ndarray:
        numbers = numbers_in(value)
        return self._wrong(place, "numbers, as many in every row", value) if numbers is None else numbers

    def _wrong(self, place: str, expected: str, found: Any) -> Any:
        text = str(found)
        raise SessionError(
            f"{self.path}: {place}: expected {expected}, but found {text if len(text) < 80 else text[:77] + '...'}. "
            "Write the file again, or convert it to npz."
        )
