"""`handpipe view`: a session or generated motion as a recording for the Rerun viewer."""

# Ring 2: reads and writes.

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
from numpy import ndarray
from scipy.sparse import csr_array

from ..core.cameras import Cameras
from ..core.errors import ConfigError, VideoError
from ..core.geometry import align_rigid, transform
from ..core.hands import BONES, HANDS
from ..core.quality import from_attributes, verdict
from ..core.storage.atomic import appearing
from ..core.storage.schema import read_cameras, read_candidates
from ..core.storage.store import Store
from ..rendering.moving_hands import HAND_BGR, MovingHands, own_axes
from ..rendering.over_image import through
from ..rendering.skin import vertex_normals
from .measures import project, spread_views
from .pictures import clip_paths, images_of
from .shown_motion import ShownMotion

MAX_VIEWS = 6
"""Views with images, unless they are named."""

WIDTH_PX = 480
"""Of an image, at most."""

QUALITY = 75
"""Of JPEG."""

HAND_RGB = HAND_BGR[:, ::-1]
FREE_RGB, TRUTH_RGB, KEY_RGB = (190, 190, 190), (90, 200, 110), (255, 170, 40)
"""Candidates that are no hand's, the ground truth, and keyframes."""

CHUNK = 64
"""Frames whose detections are in the memory at once."""

CAMERA_M = 0.08
"""Distance from a camera to its image in space, for cameras that are a metre from each other."""

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


@dataclass(frozen=True, eq=False)
class Recording:
    """A recording that is being written, and what belongs to every entry."""

    rr: Any
    stream: Any
    fps: float

    def at(self, number: int) -> None:
        self.stream.set_time("frame", sequence=number)
        self.stream.set_time("time", duration=number / self.fps)

    def log(self, path: str, *what: Any, static: bool = False) -> None:
        self.stream.log(path, *what, static=static)


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
    small = _cameras(recording, cameras, set(chosen))
    if chosen:
        _candidates(recording, shown, {view: small[view] for view in chosen}, hands.number)
        _fitted(recording, {view: small[view] for view in chosen}, hands)
    return _images(recording, shown, {view: small[view] for view in chosen}, hands.number)


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


def _cameras(recording: Recording, cameras: Cameras, with_images: set[int]) -> dict[int, Cameras]:
    """Log the rig; returns the cameras of the smaller images."""
    rr, known = recording.rr, np.flatnonzero(cameras.calibrated).tolist()
    centers, out = cameras.centers_m, {}
    spread = float(np.median(np.linalg.norm(centers[known] - centers[known].mean(axis=0), axis=1))) if known else 1.0
    for view in known:
        w, h = cameras.size_px[view].tolist()
        width = min(w, WIDTH_PX)
        small = through(cameras.subset([view]), (0, 0, w, h), (width, round(h * width / w)))
        out[view] = small
        path = f"world/cameras/{cameras.names[view]}"
        T = np.linalg.inv(cameras.T_cam_world[view])
        recording.log(path, rr.Transform3D(translation=T[:3, 3], mat3x3=T[:3, :3]), static=True)
        K = small.K[0] + [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]  # Rerun counts from the corner of the first pixel.
        size, shown_m = small.size_px[0].tolist(), CAMERA_M * max(spread, 0.1) * (2 if view in with_images else 1)
        pinhole = rr.Pinhole(
            image_from_camera=K,
            resolution=size,
            camera_xyz=rr.ViewCoordinates.RDF,
            image_plane_distance=shown_m,
        )
        recording.log(f"{path}/image" if view in with_images else path, pinhole, static=True)
    return out


def _images(recording: Recording, shown: ShownMotion, cameras: Mapping[int, Cameras], number: ndarray) -> list[str]:
    """Smaller images of the chosen views; returns why there are none."""
    assert shown.root is not None
    paths, warnings = clip_paths(shown.root), []
    for view, camera in cameras.items():
        assert shown.source_frame is not None
        name = camera.names[0]
        if name not in paths:
            warnings.append(f"there is no clip of {name}: its images are left out")
            continue
        try:
            images = images_of(paths[name], shown.source_frame[view, number].tolist())
            for row, image in zip(number.tolist(), images, strict=True):
                if image is None:
                    continue
                small = cv2.resize(image, camera.size_px[0].tolist(), interpolation=cv2.INTER_AREA)
                jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
                recording.at(row)
                path = f"world/cameras/{name}/image"
                recording.log(path, recording.rr.EncodedImage(contents=jpeg, media_type="image/jpeg"))
        except VideoError as error:
            warnings.append(str(error))
    return warnings


def _candidates(recording: Recording, shown: ShownMotion, cameras: Mapping[int, Cameras], number: ndarray) -> None:
    """Detections in the images: coloured as the hand that they were taken for, grey if for none."""
    store = shown.store
    if not (store.complete("keypoints") and store.complete("detections") and store.has("keypoints", "assignment")):
        return
    assignment = store.read("keypoints", "assignment").astype(int)
    second, start, block = store.complete("second_look"), 0, np.zeros((0, 0))
    for row in number.tolist():
        if not start <= row < start + block.shape[1]:
            start = row
            block = read_candidates(store, slice(row, row + CHUNK), second_look=second)["points"]
        found = block[:, row - start]
        recording.at(row)
        for view, camera in cameras.items():
            scale = camera.size_px[0] / shown.calibrated().size_px[view]
            points, colors = [np.zeros((0, 2))], [np.zeros((0, 3))]
            for candidate, uv in enumerate(found[view]):
                known = uv[np.isfinite(uv).all(axis=1)]
                taken = np.flatnonzero(assignment[view, row] == candidate)
                rgb = HAND_RGB[taken[0]] if len(taken) else np.array(FREE_RGB)
                points.append((known + 0.5) * scale)
                colors.append(np.tile(rgb, (len(known), 1)))
            recording.log(
                f"world/cameras/{camera.names[0]}/image/candidates",
                recording.rr.Points2D(
                    np.concatenate(points), colors=np.concatenate(colors).astype(np.uint8), radii=[2.5]
                ),
            )


def _fitted(recording: Recording, cameras: Mapping[int, Cameras], hands: MovingHands) -> None:
    """The fitted hands' bones in the images."""
    for camera in cameras.values():
        uv = project(camera, hands.joints_m)[0] + 0.5
        for frame, number in enumerate(hands.number.tolist()):
            recording.at(number)
            bones = uv[frame][:, BONES]
            color = np.repeat(HAND_RGB, len(BONES), axis=0)
            shown = np.isfinite(bones).all(axis=(2, 3))
            recording.log(
                f"world/cameras/{camera.names[0]}/image/fitted",
                recording.rr.LineStrips2D(bones[shown], colors=color[shown.ravel()], radii=[0.8]),
            )


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
