"""The Zarr schema: the arrays of every group, their axes, units and meaning. docs/store.md is written from here."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy import ndarray

from ..cameras import Cameras
from ..hands import HANDS, JOINTS, NUM_BETAS, NUM_JOINTS, NUM_POSE
from .spec import ArraySpec, GroupSpec
from .store import Store

NAN = float("nan")

LABELS: Mapping[str, Sequence[str]] = {
    "hand": HANDS,
    "joint": JOINTS,
    "xy": ("x", "y"),
    "xyz": ("x", "y", "z"),
}
"""Labels of the axes that are the same in every store."""

Columns = Mapping[str, tuple[str, str, Any, str, str]]
"""Array: (axes, dtype, fill, units, meaning)."""

TIMELINE: Columns = {
    "source_frame": ("view frame", "int64", -1, "1", "which frame of the view's clip belongs to the instant; -1 none"),
    "time": ("view frame", "float64", NAN, "second", "when it was taken, since the first"),
}

BOARD: Columns = {
    "corners": ("view board_frame corner xy", "float32", NAN, "pixel", "detected board corners; NaN where not seen"),
}

CAMERAS: Columns = {
    "K": ("view row col", "float64", NAN, "pixel", "pinhole matrix; NaN for a view without calibration"),
    "distortion": ("view coefficient", "float64", NAN, "1", "OpenCV's k1, k2, p1, p2, k3; a fisheye's k1 to k4, 0"),
    "fisheye": ("view", "bool", False, "1", "whether the lens is of OpenCV's fisheye model"),
    "T_cam_world": ("view row4 col4", "float64", NAN, "metre", "world to camera"),
    "size": ("view wh", "int32", 0, "pixel", "width and height of the images"),
    "rms": ("view", "float64", NAN, "pixel", "reprojection error of the board's corners"),
    "held_out": ("view", "float64", NAN, "pixel", "the same of corners that were held out of the adjustment"),
    "held_out_m": ("view", "float64", NAN, "metre", "how far the rays of these corners pass them"),
    "center_sigma": ("view", "float64", NAN, "metre", "standard error of the camera's position within the rig"),
    "rotation_sigma": ("view", "float64", NAN, "radian", "standard error of its direction"),
    "by_others": ("view", "float64", NAN, "pixel", "median error of its corners as triangulated by the other views"),
    "by_others_m": ("view", "float64", NAN, "metre", "the same at the depth of the corners"),
    "delay": ("view", "float64", NAN, "second", "how late its images of the board are, by the rig's median"),
    "delay_sigma": ("view", "float64", NAN, "second", "standard error of the delay"),
}

DETECTIONS: Columns = {
    "points": (
        "view frame candidate joint xy",
        "float32",
        NAN,
        "pixel",
        "landmarks of each candidate; pixel (0, 0) is the centre of the first pixel; NaN where there is none",
    ),
    "score": ("view frame candidate", "float32", NAN, "1", "confidence"),
    "right": ("view frame candidate", "float32", NAN, "1", "the detector's own probability that it is a right hand"),
}

UNCERTAINTY: Columns = {
    "sigma": (
        "view frame candidate joint",
        "float32",
        NAN,
        "pixel",
        "standard error of a landmark, by the detector",
    )
}
"""Beside the columns of `DETECTIONS`, of a detector that says it; `LOOK_UNCERTAINTY` beside those of `SECOND_LOOK`."""

FOUND_BY: Columns = {
    "found_by": ("view frame candidate", "float32", NAN, "1", "index of the detector that found it, where several vote")
}
"""Beside the columns of `DETECTIONS`, where several detectors vote."""

LOOKS: Columns = {
    "look": ("view frame hand", "bool", False, "1", "whether the hand is looked for again in this image"),
}

SECOND_LOOK: Columns = {
    "points": ("view frame hand joint xy", "float32", NAN, "pixel", "landmarks of the expected hand; NaN: none"),
    "score": ("view frame hand", "float32", NAN, "1", "confidence; 0 if nothing was found, NaN if not searched"),
    "right": ("view frame hand", "float32", NAN, "1", "the detector's own probability that it is a right hand"),
}

LOOK_UNCERTAINTY: Columns = {
    "sigma": ("view frame hand joint", "float32", NAN, "pixel", "standard error of a landmark, by the detector")
}

PLACES: Columns = {
    "points": ("frame hand joint xyz", "float32", NAN, "metre", "where the hands are expected; NaN: not expected"),
    "search": ("frame", "bool", False, "1", "whether whole images are searched, because a hand may come or go"),
}

CLOCK: Columns = {
    "offset": ("view", "float64", NAN, "second", "how late its images are, by the rig's median; NaN not known"),
    "used": ("view", "bool", False, "1", "whether offset and drift are corrected in `time`"),
    "sigma": ("view", "float64", NAN, "second", "standard error of the estimate; NaN without one"),
    "drift": ("view", "float64", NAN, "1", "seconds per second by which the offset grows"),
    "drift_sigma": ("view", "float64", NAN, "1", "standard error of the drift"),
    "time": ("view frame", "float64", NAN, "second", "when the images were taken"),
    "instant": ("frame", "float64", NAN, "second", "the time that all later results of a frame belong to"),
    "source_frame": ("view frame", "int64", -1, "1", "the clip's frame nearest to the instant; -1 none near"),
    "lag": ("view frame", "float64", NAN, "second", "from that frame to the instant"),
}

GROUPS: Columns = {
    "member": ("view frame slot", "int16", -1, "1", "candidate of this view that belongs to the slot's hand; -1 none"),
    "points": ("frame slot joint xyz", "float32", NAN, "metre", "the slot's hand in the world"),
    "votes": ("frame slot", "float32", 0.0, "1", "log-odds of the detector's labels that it is a right hand"),
}

TRACKS: Columns = {
    "slot": ("frame hand", "int16", -1, "1", "which slot of `groups` is this hand; -1 none or not decided"),
    "points": ("frame hand joint xyz", "float32", NAN, "metre", "that slot's points"),
    "predicted": ("frame hand joint xyz", "float32", NAN, "metre", "where a missing hand should be"),
}

KEYPOINTS: Columns = {
    "points": ("frame hand joint xyz", "float32", NAN, "metre", "joints in the world; NaN where not seen"),
    "sigma": ("frame hand joint", "float32", NAN, "metre", "standard error of the point"),
    "assignment": (
        "view frame hand",
        "int16",
        -1,
        "1",
        "which candidate was taken, -1 none; after those of `detections` come those of `second_look`: left, right",
    ),
    "inlier": ("view frame hand joint", "bool", False, "1", "used (true) or rejected"),
}

QUALITY: Columns = {
    "share": ("view", "float64", NAN, "1", "share of a view's candidates that agree with the hands of the other views"),
    "error": ("view", "float64", NAN, "pixel", "median distance of all candidates near a hand from it"),
    "error_m": ("view", "float64", NAN, "metre", "the same at the hand's depth"),
    "candidates": ("view", "int64", 0, "1", "candidates that were compared"),
    "examined": ("view", "bool", False, "1", "whether the view agrees so little that explanations were tested"),
    "explanation": ("view", "int8", 0, "1", "why it does not agree, an index into the attribute `explanations`"),
    "explained_share": ("view", "float64", NAN, "1", "share of its candidates that agree if the explanation holds"),
    "explained_value": ("view", "float64", NAN, "1", "scale, ratio of focal lengths, delay in s, or metres moved"),
    "explained_by": ("view", "int16", -1, "1", "the view it is exchanged with, -1 none"),
    "rig_explanation": ("session", "int8", 0, "1", "why the views of the rig do not agree, like `explanation`"),
    "rig_explained_share": ("session", "float64", NAN, "1", "share of the candidates that agree if that holds"),
    "rig_explained_value": ("session", "float64", NAN, "1", "scale, or metres of the unit of the calibration"),
}

SHAPE: Columns = {
    "betas": ("hand beta", "float32", NAN, "1", "shape, one per subject and hand; NaN if the hand was never seen"),
    "offsets": (
        "hand joint xyz",
        "float32",
        NAN,
        "metre",
        "where the detector's landmarks lie from the model's joints, in the zero pose, carried by their bones",
    ),
    "noise": ("hand view", "float32", NAN, "pixel", "standard deviation of a view's detections about the keypoints"),
}

MANO: Columns = {
    "betas": ("hand beta", "float32", NAN, "1", "shape, one per subject and hand"),
    "global_orient": ("frame hand axis_angle", "float32", NAN, "radian", "axis-angle, smplx's convention"),
    "hand_pose": ("frame hand pose", "float32", NAN, "radian", "axis-angle of 15 joints, flat_hand_mean=True"),
    "transl": ("frame hand xyz", "float32", NAN, "metre", "smplx's transl"),
    "joints": ("frame hand joint xyz", "float32", NAN, "metre", "joints of the fitted hand, in the world"),
    "residual": ("frame hand", "float32", NAN, "metre", "RMS distance of the fitted joints from the keypoints"),
    "valid": ("frame hand", "bool", False, "1", "whether the frame is supported by observations"),
}

GENERATED: Columns = {
    array: (f"sample {axes}", dtype, fill, units, meaning)
    for array, (axes, dtype, fill, units, meaning) in MANO.items()
    if array != "residual"
}
"""Generated motion: what the fit writes, many times over; nothing was observed, so nothing is left over."""

AUGMENTED: Columns = {
    "points": (
        "sequence view frame hand joint xy",
        "float32",
        NAN,
        "pixel",
        "joints in the picture, through the lens; NaN for a hand that is not shown",
    ),
    "visibility": (
        "sequence view frame hand joint",
        "uint8",
        0,
        "1",
        "2 to be seen, 1 hidden by something, 0 outside the picture or not shown",
    ),
    "joints_cam": ("sequence view frame hand joint xyz", "float32", NAN, "metre", "joints in the camera's frame"),
    "box": (
        "sequence view frame hand corner",
        "float32",
        NAN,
        "pixel",
        "x0, y0, x1, y1: first and last pixel that the hand would take if nothing hid it; NaN where none",
    ),
    "seen": ("sequence view frame hand", "float32", NAN, "1", "share of those pixels in which it is in front"),
}
"""Labels of the pictures of `handpipe augment`."""

AUGMENTED_CAMERAS: Columns = {
    array: (f"sequence {axes}", dtype, fill, units, meaning)
    for array, (axes, dtype, fill, units, meaning) in CAMERAS.items()
    if array not in ("rms", "by_others", "by_others_m", "delay", "delay_sigma")
}

AUGMENTED_MANO: Columns = {
    array: (axes.replace("sample", "sequence"), dtype, fill, units, meaning)
    for array, (axes, dtype, fill, units, meaning) in GENERATED.items()
} | {"valid": ("sequence frame hand", "bool", False, "1", "whether the hand is shown")}

SCENES: Columns = {
    "sample": ("sequence", "int32", -1, "1", "which motion of the source it shows"),
    "start": ("sequence", "int64", -1, "1", "from which of its frames on"),
    "tone": ("sequence bgr", "float32", NAN, "1", "mean colour of the skin, 0 to 1"),
    "key_light": ("sequence xyz", "float32", NAN, "1", "unit vector toward the stronger lamp, in the world"),
    "things": ("sequence", "int32", -1, "1", "how many things are before the hands"),
}


CONTROLS: Columns = {
    "wrist": ("frame hand xyz", "float32", NAN, "metre", "given wrist positions, joint 0; NaN where none was given"),
    "global_orient": ("frame hand axis_angle", "float32", NAN, "radian", "given orientations, smplx's convention"),
    "hand_pose": ("frame hand pose", "float32", NAN, "radian", "given finger poses, smplx's convention"),
}


def group_spec(
    name: str,
    columns: Columns,
    sizes: Mapping[str, int],
    unit: Mapping[str, int],
    fingerprint: Mapping[str, Any],
    attrs: Mapping[str, Any],
    coords: Mapping[str, tuple[tuple[str, ...], ndarray]] | None = None,
    parts: Mapping[str, int] | None = None,
) -> GroupSpec:
    """A group of the schema.

    Args:
        name: its name in the store.
        columns: its arrays.
        sizes: length of the axes that differ from store to store.
        unit: how far one unit reaches along each axis that is cut.
        fingerprint: what the numbers are computed from.
        attrs: further attributes.
        coords: labels and values along axes, beyond the ones every store shares: axes and values by name.
        parts: length of the chunks along axes that units do not cut; None: one chunk.
    """
    coords = dict(coords or {})
    known = {
        **{"row": 3, "col": 3, "row4": 4, "col4": 4, "wh": 2, "coefficient": 5, "xy": 2, "xyz": 3},
        **{"corner": 4, "bgr": 3},
        **{"joint": NUM_JOINTS, "hand": 2, "slot": 2, "beta": NUM_BETAS, "pose": NUM_POSE, "axis_angle": 3},
        **sizes,
    }
    cut = {**(parts or {}), **unit}
    arrays = {}
    for array, (axes, dtype, fill, units, meaning) in columns.items():
        dims = tuple(axes.split())
        shape = tuple(known[dim] for dim in dims)
        chunk = tuple(min(cut.get(dim, size), size) for dim, size in zip(dims, shape, strict=True))
        arrays[array] = ArraySpec(dims, shape, chunk, dtype, fill, {"units": units, "description": meaning})
    axes_used = {dim for spec in arrays.values() for dim in spec.dims}
    for dim in sorted(axes_used & LABELS.keys()):
        coords.setdefault(dim, ((dim,), np.array(LABELS[dim], object)))
    return GroupSpec(
        name=name,
        arrays=arrays,
        coords={key: values for key, (_, values) in coords.items()},
        coord_dims={key: dims for key, (dims, _) in coords.items()},
        fingerprint=fingerprint,
        attrs={**attrs, "unit_dims": list(unit), "chunk_frames": unit.get("frame") or unit.get("board_frame") or 0},
        units=tuple(-(-known[dim] // size) for dim, size in unit.items()),
    )


def camera_blocks(
    cameras: Cameras, rms_px: ndarray, quality: Mapping[str, ndarray] | None = None
) -> dict[str, ndarray]:
    """The `cameras` group's arrays; `quality` holds those that only a calibration from a board knows."""
    unknown = np.full(len(cameras), np.nan)
    computed = ("K", "distortion", "fisheye", "T_cam_world", "size", "rms")
    known = {name: unknown for name in CAMERAS if name not in computed} | dict(quality or {})
    return {
        **known,
        "K": cameras.K,
        "distortion": cameras.distortion,
        "fisheye": cameras.fisheye,
        "T_cam_world": cameras.T_cam_world,
        "size": cameras.size_px.astype(np.int32),
        "rms": rms_px,
    }


def read_cameras(store: Store) -> Cameras:
    """The rig of a store, views in the session's order."""
    # Stores of before there were fisheyes do not say.
    fisheye = ("fisheye",) if store.has("cameras", "fisheye") else ()
    found = store.read_each("cameras", ("view", "K", "distortion", "T_cam_world", "size", *fisheye))
    names = tuple(str(name) for name in found.pop("view"))
    with store.damage("cameras"):  # Of a store without checksums, any shape may have been changed.
        return Cameras(names, *found.values(), *(() if fisheye else (np.zeros(len(names), bool),)))


def imported(store: Store, group: str = "keypoints") -> bool:
    """Whether a group of the store came from `handpipe import`."""
    return store.complete(group) and "imported" in store.attrs(group)
