"""`handpipe view`: a session or generated motion as a recording for the Rerun viewer."""

# Ring 2: reads and writes.

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy import ndarray
from scipy.sparse import csr_array

from ..core.errors import ConfigError
from ..core.geometry import align_rigid, transform
from ..core.hands import BONES, HANDS
from ..core.quality import from_attributes, verdict
from ..core.storage.atomic import appearing
from ..core.storage.schema import read_cameras
from ..core.storage.store import Store
from ..rendering.moving_hands import MovingHands, own_axes
from ..rendering.skin import vertex_normals
from .measures import spread_views
from .shown_motion import ShownMotion
from .viewer_images import HAND_RGB, Recording, log_cameras, log_candidates, log_fitted, log_images

MAX_VIEWS = 6
"""Views with images, unless they are named."""

TRUTH_RGB, KEY_RGB = (90, 200, 110), (255, 170, 40)
"""The ground truth, and keyframes."""

OFFSCREEN = ("DISPLAY", "WAYLAND_DISPLAY", "WAYLAND_SOCKET")


def load_rerun() -> ModuleType:
    """Rerun's SDK; raises ConfigError where it is not installed."""
    try:
        import rerun
        import rerun.blueprint
    except ImportError as error:
        raise ConfigError(
            f"expected the Rerun SDK for `handpipe view`, but it cannot be imported ({error}). "
            "Install it: pip install 'handpipe[view]'."
        ) from error
    return rerun


def check_display() -> None:
    """Raises ConfigError where no window can be opened."""
    if sys.platform.startswith("linux") and not any(os.environ.get(name) for name in OFFSCREEN):
        raise ConfigError(
            "expected a display for the Rerun viewer, but found none. Write a file with --save FILE.rrd, and open it "
            "where there is one: rerun FILE.rrd."
        )


def view(
    shown: ShownMotion, hand_model: str | None, number: ndarray, views: tuple[str, ...], save: Path | None
) -> dict[str, Any]:
    """Show a motion, or write it to a file.

    Args:
        shown: the session or the store.
        hand_model: folder with the hand model; None: the procedural hands.
        number: (frame,) that are shown.
        views: with images; none: up to six that see the hands often and from different sides.
        save: the .rrd file; None: a viewer is opened.

    Raises:
        HandpipeError: the input does not allow it, or the file cannot be written.
    """
    rr = load_rerun()
    samples = range(shown.samples)
    hands = [shown.hands(sample, number, hand_model, arms=False, tinted=True) for sample in samples]
    chosen = _views(shown, views)
    if save is None:
        check_display()
    stream = rr.RecordingStream("handpipe", recording_id=f"handpipe-{os.getpid()}")
    stream.set_log_tick_enabled(False)
    stream.set_log_time_enabled(False)
    recording = Recording(rr, stream, shown.motion.fps)
    layout = (
        _session_layout(rr, shown, chosen) if shown.root is not None else _samples_layout(rr, samples, shown.motion.fps)
    )
    warnings: list[str] = []

    def write() -> None:
        if shown.root is None:
            for sample, each in zip(samples, hands, strict=True):
                _sample(recording, f"samples/{sample}", each, shown.keyframes)
        else:
            warnings.extend(_session(recording, shown, hands[0], chosen))
        stream.flush()

    if save is None:
        stream.spawn(default_blueprint=layout)
        write()
    else:
        with appearing(save) as place:
            stream.save(str(place), default_blueprint=layout)
            write()
            stream.disconnect()
    return {
        "file": None if save is None else str(save),
        "frames": len(number),
        "samples": len(samples),
        "views": [] if not chosen or shown.cameras is None else [shown.cameras.names[v] for v in chosen],
        "megabytes": None if save is None else round(save.stat().st_size / 1e6, 2),
        "warnings": warnings,
    }


def _views(shown: ShownMotion, names: tuple[str, ...]) -> list[int]:
    """Views with images; none of a session without cameras, unless they are asked for."""
    if names:
        return shown.views(names)
    if shown.cameras is None or shown.source_frame is None:
        return []
    used = np.zeros(len(shown.cameras))
    if shown.store.complete("keypoints") and shown.store.has("keypoints", "assignment"):
        used = (shown.store.read("keypoints", "assignment") >= 0).sum(axis=(1, 2))
    return spread_views(shown.cameras, used, MAX_VIEWS)


# ---- hands -------------------------------------------------------------------------------------------------------


def _mesh(recording: Recording, path: str, hands: MovingHands, hand: int, T: ndarray, rgb: Sequence[int]) -> None:
    """A hand's mesh over time; T (4, 4) moves it."""
    model, rr = hands.models[hand], recording.rr
    faces = model.faces.astype(np.uint32)
    rows, columns = faces.ravel(), np.repeat(np.arange(len(faces)), 3)
    touch = csr_array((np.ones(len(rows), np.float32), (rows, columns)), shape=(len(model.v_template), len(faces)))
    recording.log(path, rr.Mesh3D.from_fields(triangle_indices=faces, albedo_factor=[*rgb, 255]), static=True)
    for frame, number in enumerate(hands.number.tolist()):
        recording.at(number)
        if not hands.valid[frame, hand]:
            nothing = np.zeros((0, 3))
            recording.log(path, rr.Mesh3D.from_fields(vertex_positions=nothing, vertex_normals=nothing))
            continue
        vertices = transform(T, hands.vertices_m(frame, hand)).astype(np.float32)
        normals = vertex_normals(vertices, faces, touch)
        recording.log(path, rr.Mesh3D.from_fields(vertex_positions=vertices, vertex_normals=normals))


def _sample(recording: Recording, path: str, hands: MovingHands, keyframes: ndarray) -> None:
    """One generated motion: meshes, the ways of the wrists, and the keyframes' joints."""
    rr, R = recording.rr, own_axes(hands, None)
    T = np.eye(4)
    T[:3, :3] = R
    joints = hands.joints_m @ R.T
    T[:3, 3] = -np.nanmean(joints, axis=(0, 1, 2))
    joints = joints + T[:3, 3]
    recording.log(path, rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
    for hand, side in enumerate(HANDS):
        _mesh(recording, f"{path}/mano/{side}", hands, hand, T, HAND_RGB[hand].tolist())
        way = joints[hands.valid[:, hand], hand, 0]
        strip = rr.LineStrips3D([way], colors=[HAND_RGB[hand]], radii=[0.001])
        recording.log(f"{path}/paths/{side}", strip, static=True)
    for frame in np.flatnonzero(np.isin(hands.number, keyframes)).tolist():
        bones = joints[frame][hands.valid[frame]][:, BONES].reshape(-1, 2, 3)
        strips = rr.LineStrips3D(bones, colors=[KEY_RGB], radii=[0.0015])
        recording.log(f"{path}/keyframes/{hands.number[frame]}", strips, static=True)


# ---- a session ---------------------------------------------------------------------------------------------------


def _session(recording: Recording, shown: ShownMotion, hands: MovingHands, chosen: Sequence[int]) -> list[str]:
    """Everything of a session; returns warnings."""
    rr, cameras = recording.rr, shown.cameras
    up = None if cameras is None or not cameras.calibrated.any() else cameras.up
    if up is not None and np.isfinite(up).all():
        axis = int(np.argmax(np.abs(up)))
        name = f"RIGHT_HAND_{'XYZ'[axis]}_{'UP' if up[axis] > 0 else 'DOWN'}"
        recording.log("world", getattr(rr.ViewCoordinates, name), static=True)
    recording.log("quality", rr.TextDocument(quality_text(shown), media_type="text/markdown"), static=True)
    for hand, side in enumerate(HANDS):
        _mesh(recording, f"world/mano/{side}", hands, hand, np.eye(4), HAND_RGB[hand].tolist())
    if shown.store.complete("keypoints"):
        _keypoints(recording, shown.store, hands.number)
    if cameras is None:
        return []
    _truth(recording, shown, hands)
    small = log_cameras(recording, cameras, set(chosen))
    if chosen:
        log_candidates(recording, shown, {view: small[view] for view in chosen}, hands.number)
        log_fitted(recording, {view: small[view] for view in chosen}, hands)
    return log_images(recording, shown, {view: small[view] for view in chosen}, hands.number)


def quality_text(shown: ShownMotion) -> str:
    """The verdict and its reasons, in Markdown."""
    checks = from_attributes(shown.store.attrs("quality"))
    if not checks:
        return f"# {shown.name}\n\nNo verdict yet: run `handpipe triangulate {shown.name}`."
    lines = [f"# {shown.name}: {verdict(checks)}", ""]
    lines += [f"- **{check.severity}**: {check.sentence}" for check in checks if check.severity != "ok"]
    passed = Counter(check.name for check in checks if check.severity == "ok")
    lines += [f"- ok: {name}" + (f" ({count})" if count > 1 else "") for name, count in passed.items()]
    return "\n".join(lines)


def _keypoints(recording: Recording, store: Store, number: ndarray) -> None:
    """Points whose radius is their standard error."""
    points, sigma = store.read("keypoints", "points").astype(float), store.read("keypoints", "sigma").astype(float)
    for row in number.tolist():
        recording.at(row)
        for hand, side in enumerate(HANDS):
            known = np.isfinite(points[row, hand]).all(axis=1)
            radii = np.nan_to_num(sigma[row, hand][known], nan=1e-3)
            recording.log(
                f"world/keypoints/{side}",
                recording.rr.Points3D(points[row, hand][known], radii=radii, colors=[HAND_RGB[hand]]),
            )


def _truth(recording: Recording, shown: ShownMotion, hands: MovingHands) -> None:
    """The bones of the ground truth, moved into the session's world by the best fit of the cameras."""
    assert shown.root is not None
    assert shown.cameras is not None
    truth = Store(str(shown.root / "truth.zarr"))
    if not truth.exists() or not truth.complete("cameras"):
        return
    group, array = ("mano", "joints") if truth.complete("mano") else ("keypoints", "points")
    true = read_cameras(truth)
    known = zip(shown.cameras.names, shown.cameras.calibrated, strict=True)
    both = [name for name, ok in known if ok and name in true.names]
    if len(both) < 3 or not truth.complete(group):
        return
    ours, theirs = (each.subset([each.names.index(name) for name in both]) for each in (shown.cameras, true))
    T_world_truth = align_rigid(theirs.centers_m, ours.centers_m)
    joints = transform(T_world_truth, truth.read(group, array).astype(float))
    for row in hands.number[hands.number < len(joints)].tolist():
        recording.at(row)
        for hand, side in enumerate(HANDS):
            bones = joints[row, hand][BONES]
            bones = bones[np.isfinite(bones).all(axis=(1, 2))]
            recording.log(f"world/truth/{side}", recording.rr.LineStrips3D(bones, colors=[TRUTH_RGB], radii=[0.001]))


# ---- blueprints --------------------------------------------------------------------------------------------------


def _session_layout(rr: Any, shown: ShownMotion, chosen: Sequence[int]) -> Any:
    rrb = rr.blueprint
    names = [] if shown.cameras is None else [shown.cameras.names[view] for view in chosen]
    images = [rrb.Spatial2DView(origin=f"world/cameras/{name}/image", name=name) for name in names]
    space = rrb.Spatial3DView(origin="world", name="hands and cameras")
    text = rrb.TextDocumentView(origin="quality", name="quality")
    right = rrb.Vertical(rrb.Grid(*images), text, row_shares=[3, 1]) if images else text
    time = rrb.TimePanel(timeline="frame", fps=shown.motion.fps)
    return rrb.Blueprint(rrb.Horizontal(space, right, column_shares=[3, 2]), time, collapse_panels=True)


def _samples_layout(rr: Any, samples: range, fps: float) -> Any:
    rrb = rr.blueprint
    views = [rrb.Spatial3DView(origin=f"samples/{each}", name=f"sample {each}") for each in samples]
    return rrb.Blueprint(rrb.Grid(*views), rrb.TimePanel(timeline="frame", fps=fps), collapse_panels=True)
