"""The stages from Python: `hp.run`, `hp.triangulate`, `hp.fit` and `hp.generate`."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy import ndarray

from ..core.cameras import Cameras
from ..core.errors import ConfigError
from ..core.hands import HANDS, NUM_JOINTS
from ..core.storage.schema import KEYPOINTS, LABELS, MANO, Columns
from .session import Session, open

if TYPE_CHECKING:
    import xarray as xr


class _Silent:
    """No progress on the screen."""

    def start(self, stage: str, total: int, done: int, noun: str) -> None: ...
    def advance(self, amount: int) -> None: ...
    def stop(self) -> None: ...
    def say(self, text: str) -> None: ...


def run(
    session: str | Path,
    *,
    until: Literal["calibrate", "detect", "triangulate", "fit"] = "fit",
    settings: Mapping[str, Any] | None = None,
    prune: int | None = None,
    store: str | None = None,
    progress: bool = False,
) -> Session:
    """Compute what is missing or out of date, like `handpipe run`.

    In a script, call it below `if __name__ == "__main__":`, because the work runs in processes of its own; with
    `settings={"engine": {"workers": 0}}` it runs in this one.

    Args:
        session: a session folder, or the name of a session in pipeline.yaml.
        until: last stage.
        settings: settings as in session.yaml, which they override.
        prune: only the first frames.
        store: address of the results, if they are not to be in the session folder.
        progress: show it on standard error.

    Examples:
        >>> hp.run(session, settings={"engine": {"workers": 0, "chunk_frames": 2}}).verdict
        'good'
    """
    from ..core.config import build
    from ..pipeline import Job
    from ..pipeline import run as run_job
    from ..screen import Screen
    from ..settings import STAGES, Config, load_config

    if until not in STAGES:
        raise ConfigError(f"until: expected one of {', '.join(STAGES)}, but got {until!r}. Correct it.")
    name = str(session)
    _, layers = load_config(None, name)
    config = build(Config, [*layers, ("settings", dict(settings or {}))])
    stages = STAGES[: STAGES.index(until) + 1]
    done = run_job(Job(name, config, stages, prune=prune, store=store), Screen() if progress else _Silent())
    return Session(done.session.root, done.store, done.rig, config.hand_model)


def triangulate(cameras: Cameras, points: ndarray, confidence: ndarray | None = None, fps: float = 30.0) -> xr.Dataset:
    """Triangulate two hands from the pixels of all views; views that disagree are rejected, joint by joint.

    Args:
        cameras: the rig, such as `Session.cameras`.
        points: (view, frame, hand, joint, xy) pixels, NaN where a joint is not seen.
        confidence: (view, frame, hand, joint), at least 0; None: 1 everywhere.
        fps: frames per second.

    Returns:
        `points` (frame, hand, joint, xyz) metres, `sigma` (frame, hand, joint) metres and `inlier` (view, frame, hand,
        joint), like `Session.keypoints`.

    Raises:
        ConfigError: the shapes do not fit.

    Examples:
        >>> s = hp.open(session)
        >>> seen = s.cameras.project(s.mano.joints.values)
        >>> found = hp.triangulate(s.cameras, seen, fps=s.fps)
        >>> float(abs(found.points - s.mano.joints).max()) < 1e-4
        True
    """
    import xarray as xr

    from ..triangulation.robust import triangulate_robust

    points = np.asarray(points, float)
    if points.ndim != 5 or points.shape[0] != len(cameras) or points.shape[2:] != (len(HANDS), NUM_JOINTS, 2):
        raise ConfigError(
            f"points: expected (view, frame, hand, joint, xy) of {len(cameras)} views, {len(HANDS)} hands and "
            f"{NUM_JOINTS} joints, but got {points.shape}. Reorder the axes."
        )
    given = np.ones(points.shape[:-1]) if confidence is None else np.asarray(confidence, float)
    if given.shape != points.shape[:-1]:
        raise ConfigError(f"confidence: expected {points.shape[:-1]} like `points`, but got {given.shape}. Correct it.")
    weight = np.moveaxis(np.where(np.isfinite(points).all(axis=-1), given, 0.0), 0, -1)
    xy = np.moveaxis(cameras.undistort(points), 0, -2)
    found = triangulate_robust(cameras.P_cam_world, xy, weight, cameras.focal_px)
    arrays = {"points": found.points_m, "sigma": found.sigma_m, "inlier": np.moveaxis(found.inlier, -1, 0)}
    return _dataset(xr, KEYPOINTS, arrays, {"fps": float(fps)}, {"view": list(cameras.names)})


def fit(keypoints: xr.Dataset, *, fps: float | None = None, hand_model: str | None = None) -> xr.Dataset:
    """Fit MANO to 3D keypoints, without the images.

    Args:
        keypoints: `points` (frame, hand, joint, xyz) metres and `sigma` (frame, hand, joint) metres, such as
            `Session.keypoints` or the result of `triangulate`.
        fps: frames per second; None: the attribute `fps` of the keypoints.
        hand_model: folder with MANO_LEFT.npz and MANO_RIGHT.npz; None: the procedural hands.

    Returns:
        The arrays of `Session.mano`.

    Raises:
        ConfigError: the shapes do not fit, or the frame rate is unknown.

    Examples:
        >>> mano = hp.fit(hp.open(session).keypoints)
        >>> bool(mano.valid.all()), dict(mano.hand_pose.sizes)
        (True, {'frame': 8, 'hand': 2, 'pose': 45})
    """
    import xarray as xr

    from ..fitting.solver import fit_hands
    from ..hand.loading import hand_models

    rate = fps or keypoints.attrs.get("fps")
    if rate is None:
        raise ConfigError("fps: expected the frame rate, but neither `fps` nor an attribute gives it. Pass fps=.")
    points, sigma = (np.asarray(keypoints[name].values, float) for name in ("points", "sigma"))
    if points.shape[1:] != (len(HANDS), NUM_JOINTS, 3) or sigma.shape != points.shape[:-1]:
        raise ConfigError(
            f"keypoints: expected `points` (frame, hand, joint, xyz) of {len(HANDS)} hands and {NUM_JOINTS} joints and "
            f"`sigma` (frame, hand, joint), but got {points.shape} and {sigma.shape}. Reorder the axes."
        )
    models = hand_models(hand_model)
    hands = fit_hands(models, points, sigma, float(rate))
    fields = {"joints": "joints_m", "residual": "residual_m"}
    arrays = {name: np.stack([getattr(each, fields.get(name, name)) for each in hands], axis=1) for name in MANO}
    arrays["betas"] = np.stack([each.betas for each in hands])
    attributes = {"fps": float(rate), "hand_model": [model.model_id for model in models]}
    return _dataset(xr, MANO, arrays, attributes, {})


def generate(
    checkpoint: str | Path,
    out: str | Path,
    *,
    count: int = 1,
    frames: int | None = None,
    keyframes: str | None = None,
    trajectory: str | Path | None = None,
    seed: int = 0,
    hand_model: str | None = None,
    settings: Mapping[str, Any] | None = None,
    force: bool = False,
) -> Session:
    """Generate two-hand motion from a checkpoint, like `handpipe generate`.

    Args:
        checkpoint: folder that `handpipe train-diffusion` wrote.
        out: the store to write.
        count: samples.
        frames: length of each; None: the length of the model's windows.
        keyframes: poses to reach: a file, or frames of a session such as `my-session:0,30,59`.
        trajectory: file with wrist positions to follow.
        seed: the same seed gives the same motion.
        hand_model: folder of the hand model; None: the procedural hands.
        settings: keys of the section `sampling`, such as `{"steps": 10}`.
        force: replace other motion at `out`.

    Returns:
        The store, opened: `mano` has a leading axis `sample`.

    Examples:
        >>> made = hp.generate(checkpoint, out, count=2, settings={"steps": 2})
        >>> made.mano.joints.dims
        ('sample', 'frame', 'hand', 'joint', 'xyz')
    """
    from ..core.config import build
    from ..generation.sampling.run import Request
    from ..generation.sampling.run import generate as generate_motion
    from ..settings import Config

    config = build(Config, [("settings", {"sampling": dict(settings or {})})])
    request = Request(count, seed, frames, keyframes, None if trajectory is None else Path(trajectory))
    generate_motion(Path(checkpoint), Path(out), request, config.sampling, hand_model, _Silent(), force=force)
    return open(out, hand_model=hand_model)


def _dataset(
    xr: Any, columns: Columns, arrays: Mapping[str, ndarray], attributes: Mapping[str, Any], labels: Mapping[str, Any]
) -> xr.Dataset:
    """Arrays with the axes, labels and units that they have in a store."""
    variables = {}
    for name, values in arrays.items():
        axes, dtype, _, units, meaning = columns[name]
        variables[name] = (tuple(axes.split()), values.astype(dtype), {"units": units, "description": meaning})
    used = {axis for axes, _, _ in variables.values() for axis in axes}
    coords: dict[str, Any] = {axis: list(names) for axis, names in {**LABELS, **labels}.items() if axis in used}
    frames = next(len(values) for name, values in arrays.items() if columns[name][0].startswith("frame"))
    coords["time"] = ("frame", np.arange(frames) / attributes["fps"], {"units": "second"})
    return xr.Dataset(variables, coords=coords, attrs=dict(attributes))
