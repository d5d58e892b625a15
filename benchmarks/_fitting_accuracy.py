"""Accuracy of the fit: on exact points, on noisy points, and in a session with ground truth."""

from __future__ import annotations

import shutil
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from _fitting_points import error_mm, fit, noisy, truth_motion
from _report import Figure

from handpipe.core.engine import Engine
from handpipe.core.geometry import align_rigid, transform
from handpipe.core.hands import HANDS
from handpipe.core.settings import EngineSettings
from handpipe.core.storage.schema import read_cameras
from handpipe.core.storage.store import Store
from handpipe.fitting import stage as fitting_stage
from handpipe.fitting.kinematics import anatomical_frames
from handpipe.fitting.solver import FittingSettings, fit_hand
from handpipe.hand.model import HandModel
from handpipe.hand.procedural import random_pose


def exact() -> list[Figure]:
    """Exact keypoints of unrelated poses: a hundred people, ten poses each, no smoothness."""
    options = FittingSettings(
        wrist_acceleration_sd=1e6,
        wrist_turn_acceleration_sd=1e7,
        finger_acceleration_sd=1e7,
        landmark_sigma_m=1e-4,
        landmark_offsets=False,
    )
    rng = np.random.default_rng(0)
    joints_mm, vertices_mm = [], []
    for person in range(100):
        model = HandModel.procedural(HANDS[person % 2])
        parameters = (
            rng.standard_normal(10),
            2 * rng.standard_normal((10, 3)),
            random_pose(rng, model.side, 10),
            0.3 * rng.standard_normal((10, 3)),
        )
        joints = model.joints(*parameters)
        found = fit_hand(model, joints, np.full((10, 21), 1e-5), 30.0, options)
        vertices = model.vertices(found.betas, found.global_orient, found.hand_pose, found.transl)
        joints_mm.append(error_mm(found.joints_m, joints))
        vertices_mm.append(error_mm(vertices, model.vertices(*parameters)))
    return [
        Figure("exact keypoints, joints", float(np.mean(joints_mm)), "mm", 0.2),
        Figure("exact keypoints, joints, worst pose", float(np.mean(joints_mm, axis=-1).max()), "mm"),
        Figure("exact keypoints, vertices", float(np.mean(vertices_mm)), "mm", 2),
        Figure("exact keypoints, vertices, worst pose", float(np.mean(vertices_mm, axis=-1).max()), "mm"),
    ]


def noise() -> list[Figure]:
    """1 mm of noise and 10 % missing points: error, jitter, and attenuation of fast motion."""
    rows = []
    for fps in (30.0, 60.0):
        errors, ratios = [], []
        for seed in range(3):
            truth = truth_motion(600, fps, seed)
            points = noisy(truth, seed)
            found = np.stack([fit(h, points[h], fps).joints_m for h in range(2)])
            errors.append(error_mm(found, truth).mean())
            raw, ours = (np.linalg.norm(np.diff(p - truth, 2, axis=1), axis=-1) for p in (points, found))
            ratios.append(ours.mean() / np.nanmean(raw))
        rows += [
            Figure(f"noisy keypoints, joints, {fps:g} fps", float(np.mean(errors)), "mm", 0.8),
            Figure(f"noisy keypoints, acceleration error, fitted / raw, {fps:g} fps", float(np.mean(ratios)), "", 0.2),
        ]
    for fps in (30.0, 60.0, 120.0):
        rows.append(
            Figure(f"change of the peak speed of a 5 Hz finger motion, {fps:g} fps", 100 * abs(lost_speed(fps)), "%", 2)
        )
    return rows


def lost_speed(fps: float) -> float:
    """How much of the index fingertip's peak speed is lost (or added) when it beats at 5 Hz by 30 degrees."""
    model = HandModel.procedural("right")
    t = np.arange(round(4 * fps)) / fps
    bend = np.deg2rad(25 + 15 * np.sin(2 * np.pi * 5 * t))
    pose = np.zeros((len(t), 15, 3))
    pose[:, 0] = bend[:, None] * anatomical_frames(model)[0, 0]
    truth = model.joints(np.zeros(10), np.zeros((len(t), 3)), pose.reshape(-1, 45), np.zeros((len(t), 3)))
    lost = []
    for seed in range(3):
        found = fit(1, noisy(truth, seed), fps).joints_m
        ours, true = (np.diff(joints[:, 8] - joints[:, 5], axis=0) for joints in (found, truth))
        # Where the finger is at its fastest, along its true motion: noise adds nothing to this on average.
        fast = np.linalg.norm(true, axis=-1) > 0.9 * np.linalg.norm(true, axis=-1).max()
        lost.append(1 - np.sum(ours[fast] * true[fast]) / np.sum(true[fast] ** 2))
    return float(np.mean(lost))


class Silent:
    """A `Progress` that shows nothing."""

    def start(self, stage: str, total: int, done: int, noun: str) -> None: ...
    def advance(self, amount: int) -> None: ...
    def stop(self) -> None: ...
    def say(self, text: str) -> None: ...


def session(folder: Path) -> list[Figure]:
    """The fit of a session with ground truth, with and without offsets and 2D term, on a copy of its store."""
    truth = Store(str(folder / "truth.zarr"))
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary) / "session.zarr"
        shutil.copytree(folder / "session.zarr", copy)
        store = Store(str(copy))
        T_truth_world = align_rigid(read_cameras(store).centers_m, read_cameras(truth).centers_m)
        reference = truth.read("mano", "joints")
        points = transform(T_truth_world, store.read("keypoints", "points").astype(float))
        rows.append(Figure("session, triangulated", float(np.nanmean(error_mm(points, reference))), "mm"))
        for offsets, reprojection in ((False, False), (True, False), (False, True), (True, True)):
            options = FittingSettings(landmark_offsets=offsets, reprojection=reprojection)
            with Engine(EngineSettings(workers=0), Silent()) as engine:
                for plan in fitting_stage.PLANS.values():
                    engine.execute(store, partial(plan, store, store, options, None))
            errors = error_mm(transform(T_truth_world, store.read("mano", "joints").astype(float)), reference)
            kept = store.read("mano", "valid")
            name = f"session, {'with' if offsets else 'no'} offsets, {'with' if reprojection else 'no'} 2D term"
            rows.append(Figure(name, float(errors[kept].mean()), "mm", 6 if offsets and reprojection else None))
            rows.append(Figure(name + ", p95", float(np.percentile(errors[kept], 95)), "mm"))
            if offsets and reprojection:
                rows.append(Figure("session, valid frames", 100 * float(kept.mean()), "%"))
    return rows
