"""COCO-WholeBody's hands (Jin et al., ECCV 2020): an image for each view and frame, one annotation with both hands.

A hand is `lefthand_kpts` or `righthand_kpts`, 21 times x, y, visibility in the order of docs/conventions.md, with
`_box` (x, y, width, height) and `_valid`. Visibility: 2 where the detection was used, 1 where the joint is in the image
but was not (it may be hidden), 0 where it is not in the image or not known. COCO's 17 keypoints of the body hold the
wrists, its face and feet nothing.
"""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from ....core.cameras_file import write_cameras
from ....core.engine import Progress
from ....core.errors import ExportError
from ....core.hands import HANDS
from ...recording import Recording
from ..common.json_files import write_lists
from ..common.labels import Labelled, count_labelled, folder_names, labelled, with_progress, write_images
from ..interhand26m.arrays import box_of

ANNOTATIONS = "annotations.json"
CAMERAS = "cameras.toml"

DECIMALS = 3
"""Of a pixel."""

SEEN, HIDDEN, UNLABELLED = 2, 1, 0

BODY = (
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder"),
    *("left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip"),
    *("left_knee", "right_knee", "left_ankle", "right_ankle"),
)
"""COCO's 17 keypoints."""

BODY_WRIST = {"left": BODY.index("left_wrist"), "right": BODY.index("right_wrist")}

OTHER_PARTS = {"face": 68, "foot": 6}
"""Keypoints of COCO-WholeBody that are no hand's, by part."""


def write(recordings: Sequence[Recording], out: Path, progress: Progress) -> list[str]:
    """A folder for each recording: `annotations.json`, `cameras.toml`, `images/<view>/<frame>.jpg`.

    Pixels are the clips' own, with the distortion of the lens; (0, 0) is the centre of the first pixel.

    Raises:
        ExportError: a recording has no cameras.
    """
    sets = [labelled(recording) for recording in recordings]
    for each in sets:
        if each.cameras is None:
            raise ExportError(
                f"{each.recording.source}: expected cameras to look at the hands with, but there are none: generated "
                "and most imported motion has none. Export it as mano or hub."
            )
    roots = [out] if len(sets) == 1 else [out / each.recording.name for each in sets]
    progress.start("labels", count_labelled(sets), 0, "labels")
    try:
        for each, root in zip(sets, roots, strict=True):
            _write_labels(each, root, progress)
    finally:
        progress.stop()
    views = [folder_names(each.view_names) for each in sets]
    written = write_images(
        sets,
        lambda number, view, instant: roots[number] / _file_name(views[number][view], instant),
        rectified=False,
        progress=progress,
    )
    return _lost(sets, written)


def _write_labels(each: Labelled, root: Path, progress: Progress) -> None:
    assert each.cameras is not None
    names = folder_names(each.view_names)
    lists = {
        "images": with_progress(_images(each, names), progress),
        "annotations": _annotations(each, _used(each)),
        "categories": [_category()],
    }
    info = {"description": f"Hands of {each.recording.name}", "fps": each.recording.fps}
    write_lists(root / ANNOTATIONS, lists, info)
    write_cameras(root / CAMERAS, replace(each.cameras, names=tuple(names)))


def _file_name(view: str, instant: int) -> str:
    return f"images/{view}/{instant:06d}.jpg"


def _category() -> dict[str, Any]:
    return {"id": 1, "name": "person", "supercategory": "person", "keypoints": list(BODY), "skeleton": []}


def _used(each: Labelled) -> ndarray | None:
    """(view, frame, hand, joint) bool: the detection was used; None where nothing was detected."""
    recording = each.recording
    if recording.keypoints() is None or not recording.store.read("keypoints", "assignment").size:
        return None
    views = recording.store.labels("keypoints", "view")
    inlier = recording.store.read("keypoints", "inlier")
    return inlier[[views.index(name) for name in each.view_names]]


def _images(each: Labelled, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    assert each.cameras is not None
    for view, name in enumerate(names):
        width, height = each.cameras.size_px[view].tolist()
        for instant in each.labelled(view).tolist():
            yield {
                "id": _image_id(each, view, instant),
                "file_name": _file_name(name, instant),
                "width": width,
                "height": height,
            }


def _image_id(each: Labelled, view: int, instant: int) -> int:
    return view * each.recording.frames + instant + 1


def _annotations(each: Labelled, used: ndarray | None) -> Iterator[dict[str, Any]]:
    assert each.cameras is not None
    for view in range(len(each.cameras)):
        size_px = each.cameras.size_px[view]
        for instant, points_px in each.projected(view, lens=True):
            seen = np.zeros(points_px.shape[:2], bool) if used is None else used[view, instant]
            annotation = annotation_of(points_px, seen, size_px)
            if annotation is not None:
                number = _image_id(each, view, instant)
                yield {"id": number, "image_id": number, "category_id": 1, "iscrowd": 0, **annotation}


def annotation_of(points_px: ndarray, used: ndarray, size_px: ndarray) -> dict[str, Any] | None:
    """Both hands in one image.

    Args:
        points_px: (hand, 21, 2), NaN where not known.
        used: (hand, 21) bool: a detection of the joint in this image was used.
        size_px: width and height.

    Returns:
        What COCO-WholeBody says of a person; None when no joint is in the image.
    """
    inside = np.asarray(np.isfinite(points_px).all(axis=-1))
    with np.errstate(invalid="ignore"):
        inside &= np.asarray(((points_px >= -0.5) & (points_px <= size_px - 0.5)).all(axis=-1))
    if not inside.any():
        return None
    visibility = np.where(inside, np.where(used, SEEN, HIDDEN), UNLABELLED)
    kept = np.where(inside[..., None], points_px, np.nan)
    body = np.zeros((len(BODY), 3))
    found: dict[str, Any] = {}
    for index, hand in enumerate(HANDS):
        triplets = np.concatenate([np.nan_to_num(kept[index]), visibility[index, :, None]], axis=-1)
        body[BODY_WRIST[hand]] = triplets[0]
        found[f"{hand}hand_kpts"] = _rounded(triplets)
        found[f"{hand}hand_box"] = _rounded(box_in(kept[index], size_px))
        found[f"{hand}hand_valid"] = bool(inside[index].any())
    box = box_in(kept.reshape(-1, 2), size_px)
    for part, count in OTHER_PARTS.items():
        found |= {f"{part}_kpts": [0.0] * (3 * count), f"{part}_valid": False}
    return {
        "bbox": _rounded(box),
        "area": round(float(box[2] * box[3]), DECIMALS),
        "num_keypoints": int((body[:, 2] > 0).sum()),
        "keypoints": _rounded(body),
        **found,
        "face_box": [0.0] * 4,
    }


def box_in(points_px: ndarray, size_px: ndarray) -> ndarray:
    """(joint, 2) to x, y, width, height: a fifth larger than the joints', within the image; zeros without joints."""
    x, y, width, height = box_of(points_px)
    if not np.isfinite(x):
        return np.zeros(4)
    low = np.maximum([x, y], -0.5)
    high = np.minimum([x + width, y + height], size_px - 0.5)
    return np.concatenate([low, high - low])


def _rounded(values: ndarray) -> list[float]:
    return np.round(values.ravel(), DECIMALS).tolist()


def _lost(sets: Sequence[Labelled], written: int) -> list[str]:
    without = count_labelled(sets) - written
    lost = [
        "MANO and the joints in space: only where they are in each image. With the cameras.toml beside them, "
        "`handpipe import coco` and `handpipe run` find them again.",
        "Coordinates beyond a thousandth of a pixel, and joints outside the images.",
        "Which joints other things hide: visibility 1 is a joint whose detection was not used.",
        "When each view's image was taken.",
    ]
    if without:
        lost.append(f"{without} images, which lie in no clip of the session or were left out: annotations only.")
    return lost
