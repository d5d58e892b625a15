"""OpenPose's JSON: a file for each frame."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Iterator

from ..format import SIDES, File2d, Keypoints2dFormat
from ..hands import ImageHands


def _read(file: File2d) -> Iterator[ImageHands]:
    """One frame: people with hand_left_keypoints_2d and hand_right_keypoints_2d, 21 times x, y, confidence."""
    hands = []
    for i, person in enumerate(file.list_of(file.data["people"], "people", dict)):
        for side, right in SIDES:
            key = f"hand_{side}_keypoints_2d"
            hands += file.triplets(person.get(key, []), f"people[{i}].{key}", right)
    yield ImageHands(str(file.path), file.name, None, hands)


FORMAT = Keypoints2dFormat(
    name="openpose",
    title="OpenPose's JSON",
    suffixes=(".json",),
    reads="a file for each frame (`--write_json --hand`): `hand_left_keypoints_2d`, `hand_right_keypoints_2d`",
    content="`people`",
    sides="as the names say",
    recognizes=lambda data: isinstance(data, dict) and "people" in data,
    read=_read,
)
