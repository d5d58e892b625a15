"""COCO-WholeBody's JSON: all images and annotations in one file."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..format import SIDES, File2d, Keypoints2dFormat
from ..hands import Hand2d, ImageHands


def _read(file: File2d) -> Iterator[ImageHands]:
    """Images by file name, annotations with lefthand_kpts and righthand_kpts, 21 times x, y, visibility."""
    hands: dict[Any, list[Hand2d]] = {}
    names: dict[Any, Mapping[str, Any]] = {}
    for i, image in enumerate(file.list_of(file.data["images"], "images", dict)):
        if not isinstance(image.get("file_name"), str) or not isinstance(image.get("id"), int | str):
            file.wrong(f"images[{i}]", "an id and a file_name", image)
        names[image["id"]] = image
        hands[image["id"]] = []
    for i, person in enumerate(file.list_of(file.data["annotations"], "annotations", dict)):
        if not isinstance(person.get("image_id"), int | str) or person["image_id"] not in hands:
            file.wrong(f"annotations[{i}].image_id", "the id of one of the images", person.get("image_id"))
        for side, right in SIDES:
            key = f"{side}hand_kpts"
            if person.get(f"{side}hand_valid", True):
                hands[person["image_id"]] += file.triplets(person.get(key, []), f"annotations[{i}].{key}", right)
    for key, image in names.items():
        where = f"{file.path}: image {image['file_name']}"
        known = (image["width"], image["height"]) if {"width", "height"} <= image.keys() else None
        if known is not None and not all(isinstance(side, int) for side in known):
            file.wrong(f"image {image['file_name']}", "width and height as whole numbers", known)
        yield ImageHands(where, image["file_name"], None, hands[key], known)


FORMAT = Keypoints2dFormat(
    name="coco",
    title="COCO-WholeBody's JSON",
    suffixes=(".json",),
    reads="`images` and `annotations` in one file: `lefthand_kpts` and `righthand_kpts` of all annotations",
    content="`images` and `annotations`",
    sides="as the names say",
    recognizes=lambda data: isinstance(data, dict) and {"images", "annotations"} <= data.keys(),
    read=_read,
)
