"""Golden outputs of the stages from clips to MANO: calibrate, detect, triangulate, fit.

The clips among the inputs are of `handpipe synthesize`, 320x256, three frames of the hands and three of the board;
rig.npz has their cameras and the true joints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from calibration_scenes import BOARD, arc_rig, waved_board
from calibration_scenes import BOARD as SCENE_BOARD
from golden import EXACT, INPUTS, Golden, Tolerance
from hand_scenes import FPS, detect, dome, hand, interaction, rotation
from numpy import ndarray
from stored_detections import fill, triangulated
from toy_stage import Quiet

from handpipe.calibration.aniposelib_solver import AniposelibSolver
from handpipe.calibration.calibrate import calibrate
from handpipe.calibration.settings import CalibrationSettings
from handpipe.calibration.stage import board_plan, cameras_plan
from handpipe.capture import detect as detect_stage
from handpipe.capture.crop_detection import CropDetector
from handpipe.capture.frames import view_frames
from handpipe.capture.session import read_session
from handpipe.capture.settings import CaptureSettings, DetectionSettings
from handpipe.capture.video import read_frames
from handpipe.core.cameras import Cameras
from handpipe.core.engine import Engine, Plan
from handpipe.core.hands import HANDS, LEFT
from handpipe.core.recording import Clip, Session, regular
from handpipe.core.settings import Board, EngineSettings
from handpipe.core.storage.schema import BOARD as BOARD_COLUMNS
from handpipe.core.storage.schema import DETECTIONS, GROUPS, KEYPOINTS, TRACKS, Columns, group_spec
from handpipe.core.storage.store import Store
from handpipe.fitting.settings import FittingSettings
from handpipe.fitting.stage import PLANS as FIT_PLANS
from handpipe.triangulation import second_look
from handpipe.triangulation.places import Searched, first_groups_plan, places_plan
from handpipe.triangulation.quality.stage import quality_plan
from handpipe.triangulation.settings import SecondLookSettings, TimeSyncSettings
from handpipe.triangulation.time_sync_stage import aligned_plan, clock_plan

METRES = Tolerance(1e-6)
"""Sums in another order, as other BLAS builds and vector units have them, move closed-form results by far less."""

SOLVED = Tolerance(2e-5, 2e-4)
"""An iteration that stops at a tolerance may take one step more or less on another processor."""


def execute(store: Store, *plans: Callable[[int], Plan]) -> None:
    """Run plans in this process."""
    with Engine(EngineSettings(workers=0), Quiet()) as engine:
        for plan in plans:
            engine.execute(store, plan)


def opened(folder: Path) -> Store:
    """A new store."""
    store = Store(str(folder / "session.zarr"))
    store.open()
    return store


def arrays(store: Store, group: str, *names: str) -> dict[str, ndarray]:
    """Arrays of a group, by `group.array`."""
    return {f"{group}.{name}": store.read(group, name) for name in names}


def put(store: Store, name: str, columns: Columns, sizes: Mapping[str, int], blocks: Mapping[str, ndarray]) -> None:
    """A finished group as another stage would have left it."""
    views = {"view": (("view",), np.array([f"view{v}" for v in range(sizes["view"])], object))}
    coords = views if any("view" in axes.split() for axes, *_ in columns.values()) else {}
    nothing = {"settings": {}, "inputs": {}, "code": 1}
    store.create(group_spec(name, columns, {**sizes, "all": 1}, {"all": 1}, nothing, {"fps": FPS}, coords))
    store.write(name, (0,), blocks)
    store.finish(name)


def filmed() -> Session:
    """The clips among the inputs."""
    return read_session(INPUTS / "session", CaptureSettings())


# ---- calibrate ---------------------------------------------------------------------------------------------------


def board(work: Path) -> dict[str, ndarray]:
    """Corners in six pictures."""
    store = opened(work)
    execute(store, lambda chunk: board_plan(filmed(), view_frames, Board(), {}, chunk))
    return arrays(store, "board", "corners")


def cameras(work: Path) -> dict[str, ndarray]:
    """Four cameras from the corners of a waved board."""
    rng = np.random.default_rng(5)
    rig, frames = arc_rig(4, rng), 24
    corners = waved_board(rig, frames, rng)
    clips = tuple(Clip(work / f"view{v}.mp4", frames, FPS, (640, 480)) for v in range(4))
    timeline = regular(4, frames, FPS)
    session = Session(work, clips, {clip.view: clip for clip in clips}, timeline, timeline, FPS, {})
    store = opened(work)
    sizes = {"view": 4, "board_frame": frames, "corner": corners.shape[2]}
    put(store, "board", BOARD_COLUMNS, sizes, {"corners": corners.astype(np.float32)})
    options = CalibrationSettings()
    execute(store, lambda _: cameras_plan(session, read_frames, BOARD, options, store, None, dead_views=0.0))
    return arrays(store, "cameras", "K", "distortion", "T_cam_world", "rms", "held_out", "center_sigma")


# ---- detect ------------------------------------------------------------------------------------------------------


def aniposelib_cameras(work: Path) -> dict[str, ndarray]:
    """Three simulated cameras by aniposelib's bundle adjustment."""
    del work
    rng = np.random.default_rng(5)
    rig = arc_rig(3, rng)
    corners_px = waved_board(rig, 12, rng).astype(np.float32)
    found = calibrate(SCENE_BOARD, corners_px, rig.names, rig.size_px, solver=AniposelibSolver("golden")).cameras
    return {"K": found.K, "distortion": found.distortion, "T_cam_world": found.T_cam_world}


def detections(work: Path) -> dict[str, ndarray]:
    """What MediaPipe finds in nine pictures, and their times."""
    session, store = filmed(), opened(work)
    execute(
        store,
        lambda _: detect_stage.timeline_plan(session),
        lambda chunk: detect_stage.plan(session, DetectionSettings(), {}, chunk),
    )
    return arrays(store, "timeline", "source_frame", "time") | arrays(store, "detections", "points", "score", "right")


# ---- triangulate -------------------------------------------------------------------------------------------------


def time_sync(work: Path) -> dict[str, ndarray]:
    """Four views, one of which is 0.4 frames late and one 0.7 early; detections with a pixel of noise."""
    rig, frames, steps = dome(4), 24, 10
    motion = interaction(frames * steps, reach_m=0.2)
    taken = np.clip(np.arange(frames) * steps + np.array([0, 4, -7, 0])[:, None], 0, frames * steps - 1)
    parts = [detect(rig.subset([v]), motion[at], noise_px=1.0, seed=v)[:3] for v, at in enumerate(taken)]
    points, score, right = (np.concatenate(part) for part in zip(*parts, strict=True))
    store = opened(work)
    fill(store, rig, points, score, right)
    execute(
        store,
        lambda chunk: clock_plan(store, store, TimeSyncSettings(max_offset_s=0.1), chunk),
        lambda chunk: aligned_plan(store, chunk),
    )
    names = ("offset", "sigma", "drift", "used", "time", "instant", "source_frame", "lag")
    found = arrays(store, "clock", *names) | arrays(store, "aligned", "points", "score", "right")
    return found | {"aligned.points": found["aligned.points"][:, ::8]}


def triangulation(work: Path) -> dict[str, ndarray]:
    """Candidates to hands: some have a wrong label, some are made of two hands, one hand is lost in two frames."""
    rig, motion = dome(5), interaction(12, reach_m=0.15)
    points, score, right, shown = detect(rig, motion, seen=0.85, wrong_labels=0.2, mixed=0.05, noise_px=2.0, seed=2)
    lost = (shown == LEFT) & (np.arange(12)[:, None] // 2 == 3)
    points[lost], score[lost], right[lost] = np.nan, np.nan, np.nan
    store = triangulated(work, rig, points, score, right)
    sigma = np.random.default_rng(2).choice([1.5, 3.0, 9.0], points.shape[:-1]).astype(np.float32)
    told = triangulated(work, rig, points, score, right, chunk_frames=7, sigma=sigma)
    return (
        arrays(store, "groups", "member", "points", "votes")
        | arrays(store, "tracks", "slot", "points", "predicted")
        | arrays(store, "keypoints", "points", "sigma", "assignment", "inlier")
        | {"told.points": told.read("keypoints", "points", slice(0, 3))}
    )


def places(work: Path) -> dict[str, ndarray]:
    """Two hands expected in twelve frames, of which every third was searched; one hand is lost in one of these."""
    rig, motion = dome(5), interaction(12, reach_m=0.15)
    points, score, right, shown = detect(rig, motion, noise_px=2.0, seed=2)
    lost = (shown == LEFT) & (np.arange(12)[:, None] == 6)
    points[lost], score[lost], right[lost] = np.nan, np.nan, np.nan
    store, which = opened(work), Searched(step=3, stride=1)
    fill(store, rig, points, score, right)
    found = {"points": points, "score": score, "right": right}
    put(store, "first_look", DETECTIONS, {"view": 5, "frame": 12, "candidate": 2}, found)
    execute(
        store,
        lambda chunk: first_groups_plan(store, store, which, chunk),
        lambda chunk: places_plan(store, which, chunk),
    )
    found = arrays(store, "places", "points", "search")
    return found | {"places.points": found["places.points"][:, :, ::4]}


def quality(work: Path) -> dict[str, ndarray]:
    """The views of the same session against its hands; one view is mirrored."""
    rig, motion = dome(5), interaction(12, reach_m=0.15)
    points, score, right, _ = detect(rig, motion, noise_px=2.0, seed=2)
    points[3, ..., 0] = 639 - points[3, ..., 0]
    store = triangulated(work, rig, points, score, right)
    execute(store, lambda chunk: quality_plan(store, store, "session", chunk))
    return arrays(store, "quality", "share", "error", "candidates")


def second_looks(work: Path) -> dict[str, ndarray]:
    """Hands looked for again in three views that took nothing."""
    session, store = filmed(), opened(work)
    with np.load(INPUTS / "rig.npz") as file:
        rig = dict(file)
    part, joints = slice(1, 4), rig["joints"]
    views, frames = len(session.views), len(joints)
    lenses = Cameras(session.views, *(rig[name][part] for name in ("K", "distortion", "T_cam_world", "size")))
    nothing = np.full((views, frames, 2, 21, 2), np.nan, np.float32)
    fill(store, lenses, nothing, nothing[..., 0, 0], nothing[..., 0, 0])
    sizes = {"view": views, "frame": frames}
    none = np.full((views, frames, 2), -1)
    put(store, "groups", GROUPS, sizes, {"member": none, "points": joints, "votes": np.zeros((frames, 2))})
    tracks = {"slot": np.tile([0, 1], (frames, 1)), "points": joints, "predicted": np.full(joints.shape, np.nan)}
    put(store, "tracks", TRACKS, sizes, tracks)
    options = SecondLookSettings()
    low = DetectionSettings(min_detection=options.min_detection, min_presence=options.min_presence)
    detector = CropDetector(low, options.crop_scale, options.crop_px)
    execute(store, lambda chunk: second_look.looks_plan(store, store, options, chunk))
    execute(store, lambda chunk: second_look.plan(session, store, store, view_frames, detector, options, chunk))
    return arrays(store, "second_look", "points", "score", "right")


# ---- fit ---------------------------------------------------------------------------------------------------------


def fit(work: Path) -> dict[str, ndarray]:
    """Two hands that flex, in three views and two windows; one joint and one frame of a hand missing."""
    frames, views = 18, 3
    bend = 0.3 + 0.02 * np.arange(frames)
    rng = np.random.default_rng(1)
    motion = np.stack(
        [hand(bend, side) @ rotation(rng).T + [0.12 * side - 0.06, 0.0, 0.0] for side in range(len(HANDS))], axis=1
    )
    rig = dome(views)
    seen = rig.project(motion) + rng.normal(0, 1.0, (views, frames, 2, 21, 2))
    points = motion + rng.normal(0, 0.001, motion.shape)
    points[2, 0, 8], points[4, 1] = np.nan, np.nan
    known = np.isfinite(points[..., 0])
    store = opened(work)
    fill(store, rig, seen, np.full((views, frames, 2), 0.9), np.full((views, frames, 2), 0.5))
    blocks = {
        "points": points,
        "sigma": np.where(known, 0.001, np.nan),
        "assignment": np.broadcast_to([0, 1], (views, frames, 2)),
        "inlier": np.broadcast_to(known, (views, *known.shape)),
    }
    put(store, "keypoints", KEYPOINTS, {"view": views, "frame": frames}, blocks)
    options = FittingSettings(window_frames=16, window_overlap=2)
    execute(store, *(partial(plan, store, store, options, None) for plan in FIT_PLANS.values()))
    return arrays(store, "shape", "betas", "offsets", "noise") | arrays(
        store, "mano", "global_orient", "hand_pose", "transl", "joints", "residual", "valid"
    )


PIXELS = Tolerance(0.5)
"""The networks' float sums differ with the processor's vector width; a different crop or model moves landmarks more."""

GOLDENS = (
    # Corners are refined to 1e-2 px by a stopping rule; decoders' colours may differ by one level.
    Golden("board", "handpipe.calibration.stage", board, {"*": Tolerance(0.02)}, "BOARD_CODE"),
    Golden(
        "cameras",
        "handpipe.calibration.stage",
        cameras,
        {"cameras.K": Tolerance(0.01), "*": SOLVED},
        "CAMERAS_CODE",
    ),
    Golden(
        "aniposelib_cameras",
        "handpipe.calibration.aniposelib_solver",
        aniposelib_cameras,
        # It stops on a relative tolerance of 1e-4 (ftol): poses of a metre, focal lengths of hundreds of pixels.
        {"K": Tolerance(0.5), "distortion": Tolerance(1e-3), "T_cam_world": Tolerance(1e-3)},
    ),
    Golden(
        "detections",
        "handpipe.capture.detect",
        detections,
        {"detections.points": PIXELS, "detections.score": Tolerance(0.02), "detections.right": Tolerance(0.02)},
    ),
    Golden(
        "time_sync",
        "handpipe.triangulation.time_sync_stage",
        time_sync,
        {"clock.used": EXACT, "clock.source_frame": EXACT, "aligned.points": Tolerance(0.01), "*": SOLVED},
    ),
    Golden(
        "triangulation",
        "handpipe.triangulation.stage",
        triangulation,
        {
            **{f"{group}.points": METRES for group in ("groups", "tracks", "keypoints")},
            "tracks.predicted": METRES,
            "keypoints.sigma": METRES,
            "told.points": METRES,
            "groups.votes": Tolerance(1e-4),
        },
    ),
    # A candidate at the limit of agreement may fall to either side.
    Golden("quality", "handpipe.triangulation.quality.stage", quality, {"*": Tolerance(0.02)}),
    Golden("places", "handpipe.triangulation.places", places, {"places.points": METRES}),
    Golden(
        "second_look",
        "handpipe.triangulation.second_look",
        second_looks,
        {"second_look.points": PIXELS, "*": Tolerance(0.02)},
    ),
    Golden(
        "fit",
        "handpipe.fitting.stage",
        fit,
        # Angles about a finger's own axis are held by the prior alone: its valley is flat.
        {"mano.joints": METRES, "mano.residual": METRES, "mano.valid": EXACT, "*": SOLVED},
    ),
)
