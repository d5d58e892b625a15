"""InterHand2.6M's annotation files and image tree, as its own tools read them."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from ....core.engine import Progress
from ....core.errors import disk_errors
from ....core.hands import HANDS
from ...recording import Recording, safe_name
from ..common.json_files import write_lists, write_table
from ..common.labels import Labelled, count_labelled, folder_names, labelled, with_progress, write_images
from .arrays import HAND_ORDER, Pinhole, box_of, camera_out, hand_type, joints_out, mano_out, skeleton

SPLIT = "train"

NOTES = "interhand26m"
"""Attribute of the group `keypoints` of what was imported: where in the dataset it comes from."""


@dataclass(frozen=True, eq=False)
class _Placed:
    """A recording and where it goes in the dataset."""

    labels: Labelled
    capture: int
    subject: int
    sequence: str
    frame_idx: ndarray
    """(frame,) the dataset's number of each instant."""
    cameras: tuple[str, ...]
    """The dataset's names of the views."""

    def image(self, view: int, instant: int) -> str:
        """An image's path below images/train."""
        return f"Capture{self.capture}/{self.sequence}/cam{self.cameras[view]}/image{self.frame_idx[instant]}.jpg"


def write(recordings: Sequence[Recording], out: Path, progress: Progress) -> list[str]:
    """`annotations/train/InterHand2.6M_train_*.json`, `annotations/skeleton.txt` and the images,
    `images/train/Capture*/<sequence>/cam*/image*.jpg`.

    Joints are those of the fitted hands, or imported keypoints as they are; images are rectified, since the dataset's
    cameras have no distortion. A recording that was imported from the dataset goes back to its place in it.
    """
    placed = _place([labelled(recording) for recording in recordings])
    prefix = out / "annotations" / SPLIT / f"InterHand2.6M_{SPLIT}_"
    captures = sorted({each.capture for each in placed})
    by_capture = {capture: [each for each in placed if each.capture == capture] for capture in captures}

    def table(rows: Any) -> Mapping[str, Any]:
        return {str(capture): (row for each in group for row in rows(each)) for capture, group in by_capture.items()}

    progress.start("labels", 2 * count_labelled([each.labels for each in placed]), 0, "labels")
    try:
        lists = {"images": _images(placed), "annotations": _annotations(placed)}
        write_lists(
            prefix.with_name(prefix.name + "data.json"),
            {name: with_progress(items, progress) for name, items in lists.items()},
        )
    finally:
        progress.stop()
    write_table(prefix.with_name(prefix.name + "joint_3d.json"), table(_joints))
    write_table(
        prefix.with_name(prefix.name + "camera.json"),
        {str(capture): _cameras(group).items() for capture, group in by_capture.items()},
    )
    with_mano = any(each.labels.recording.fitted for each in placed)
    if with_mano:
        write_table(prefix.with_name(prefix.name + "MANO_NeuralAnnot.json"), table(_mano))
    with disk_errors(str(out)):
        (out / "annotations" / "skeleton.txt").write_text(skeleton(), encoding="utf-8")
    images = out / "images" / SPLIT
    written = write_images(
        [each.labels for each in placed],
        lambda number, view, instant: images / placed[number].image(view, instant),
        rectified=True,
        progress=progress,
    )
    return _lost(placed, written, with_mano)


def _place(recordings: Sequence[Labelled]) -> list[_Placed]:
    """Imported recordings where they were, unless another is there; the others in captures of their own after those."""
    notes = [_note(each.recording) for each in recordings]
    free = 1 + max((note["capture"] for note in notes if note), default=-1)
    placed: list[_Placed] = []
    for each, note in zip(recordings, notes, strict=True):
        cameras = tuple(folder_names(each.view_names))
        frames = np.arange(each.recording.frames)
        new = _Placed(each, free, 0, each.recording.name, frames, cameras)
        if note:
            frames = note["first_frame_idx"] + note["frame_idx_step"] * frames
            back = _Placed(each, note["capture"], note["subject"], safe_name(note["sequence"]), frames, cameras)
            if all(back.capture != other.capture or _together(back, other) for other in placed):
                new = back
        free += new.capture == free
        placed.append(new)
    return placed


def _note(recording: Recording) -> dict[str, Any] | None:
    return None if recording.sample is not None else recording.store.attrs("keypoints").get(NOTES)


def _together(one: _Placed, other: _Placed) -> bool:
    """Whether two recordings can be of one capture: other frames, and the same cameras under the same names."""
    a, b = (dict(_cameras([each])) for each in (one, other))
    same = all(a[kind].get(name, value) == value for kind in a for name, value in b[kind].items())
    return same and not np.isin(one.frame_idx, other.frame_idx).any()


def _views(each: _Placed) -> Iterator[tuple[int, Pinhole]]:
    cameras = each.labels.cameras
    if cameras is not None:
        yield from ((view, Pinhole(cameras.K[view], cameras.T_cam_world[view])) for view in range(len(cameras)))


def _cameras(group: Sequence[_Placed]) -> Mapping[str, Mapping[str, Any]]:
    kinds: dict[str, dict[str, Any]] = {kind: {} for kind in ("campos", "camrot", "focal", "princpt")}
    for each in group:
        for view, camera in _views(each):
            for kind, value in camera_out(camera).items():
                kinds[kind][each.cameras[view]] = value
    return kinds


def _joints(each: _Placed) -> Iterator[tuple[str, Any]]:
    """Frame by frame; those without any hand are not in the dataset."""
    world, valid = joints_out(each.labels.joints_m)
    for instant, there in enumerate(each.labels.there):
        if there.any():
            yield (
                str(each.frame_idx[instant]),
                {
                    "world_coord": world[instant].tolist(),
                    "joint_valid": valid[instant][:, None].tolist(),
                    "hand_type": hand_type(there),
                    "hand_type_valid": True,
                    "seq": each.sequence,
                },
            )


def _mano(each: _Placed) -> Iterator[tuple[str, Any]]:
    recording = each.labels.recording
    if not recording.fitted:
        return
    motion, models = recording.motion(), recording.models
    there = motion.valid
    for instant in np.flatnonzero(there.any(axis=-1)).tolist():
        yield (
            str(each.frame_idx[instant]),
            {
                HANDS[hand]: mano_out(
                    motion.betas[hand],
                    motion.global_orient[instant, hand],
                    motion.hand_pose[instant, hand],
                    motion.transl[instant, hand],
                    models[hand].hands_mean,
                )
                if there[instant, hand]
                else None
                for hand in HAND_ORDER
            },
        )


def _each_image(placed: Sequence[_Placed]) -> Iterator[tuple[int, _Placed, int, int, ndarray]]:
    """Number, recording, view, instant and the joints (42, 2) in pixels of every labelled image."""
    number = 0
    for each in placed:
        for view, _ in _views(each):
            for instant, points_px in each.labels.projected(view, lens=False):
                yield number, each, view, instant, points_px.reshape(-1, 2)
                number += 1


def _images(placed: Sequence[_Placed]) -> Iterator[dict[str, Any]]:
    for number, each, view, instant, _ in _each_image(placed):
        assert each.labels.cameras is not None
        width, height = each.labels.cameras.size_px[view].tolist()
        yield {
            "id": number,
            "file_name": each.image(view, instant),
            "width": width,
            "height": height,
            "capture": each.capture,
            "subject": each.subject,
            "seq_name": each.sequence,
            "camera": each.cameras[view],
            "frame_idx": int(each.frame_idx[instant]),
        }


def _annotations(placed: Sequence[_Placed]) -> Iterator[dict[str, Any]]:
    for number, each, _, instant, points_px in _each_image(placed):
        _, valid = joints_out(each.labels.joints_m[instant])
        yield {
            "id": number,
            "image_id": number,
            "bbox": np.round(np.nan_to_num(box_of(points_px)), 4).tolist(),
            "joint_valid": valid[:, None].astype(int).tolist(),
            "hand_type": hand_type(each.labels.there[instant]),
            "hand_type_valid": 1,
        }


def _lost(placed: Sequence[_Placed], written: int, with_mano: bool) -> list[str]:
    labels = [each.labels for each in placed]
    lost = [
        "Frames per second: the dataset numbers frames and has no times; `handpipe import interhand26m --fps` says it.",
        "Standard errors of the joints, and which views saw them.",
        "Coordinates beyond a tenth of a micrometre.",
    ]
    rigs = [each.cameras for each in labels if each.cameras is not None]
    if any(rig.distortion.any() or rig.fisheye.any() for rig in rigs):
        lost.append("The distortion of the lenses: images are rectified, and so are the boxes.")
    if any(each.cameras is None for each in labels):
        lost.append("Images and boxes where there are no cameras: only joints and MANO are written.")
    if with_mano:
        lost.append("Which hand model the MANO parameters are for; readers take them for the official ones.")
    if not with_mano:
        lost.append("MANO: nothing was fitted.")
    if without := count_labelled(labels) - written:
        lost.append(f"{without} images, which lie in no clip of the session or were left out: annotations only.")
    return lost
