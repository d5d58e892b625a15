"""The joint adjustment as the calibration needs it: which frames, which corners, how much the lens may move."""

# Ring 2: reads and writes.

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy import ndarray

from . import bundle
from .board import MIN_CORNERS
from .initial import place_board, slow_sightings, spread_frames
from .timing.delays import Delays, board_velocity, estimate_delays

PIXEL_NOISE_PX = 0.5
"""How well a corner is found, until the residuals say better; weighs the priors on the lens against the sightings."""
LENS_SIGMA = {"aspect": 0.003, "center": 0.005, "k1": 0.3, "k2": 0.1, "p1": 0.0003, "p2": 0.0003, "k3": 0.01}
"""Prior standard deviations. `aspect` is (fx - fy) / f, `center` a fraction of the image width, the rest are OpenCV's
coefficients. They hold a parameter that a view never observed near neutral, and hardly move one that it did."""
FISHEYE_SIGMA = {"k1": 0.2, "k2": 0.1, "k3": 0.05, "k4": 0.02, "unused": 1.0}
"""The same of a fisheye's, about an equidistant lens; the usual projections lie within k1 = -0.17 to 0.08."""
HUBER_STEPS_PX = (30.0, 3.0, 1.0)
"""From the first guess, which may be tens of pixels off, to the noise of a corner."""
JUDGE_EVERY = 5
"""One frame in so many is held out first, to judge the cameras by, and added then."""
MIN_JUDGED_FROM = 10
"""Of fewer shared frames none is held out: the rest would not do."""
FEW_WRONG = 0.1
"""Share of a view's held-out corners that may be wrong corners; beyond it is the camera that is wrong."""
REJECT_SIGMAS = 6.0
"""A corner this far out, in robust standard deviations, is a wrong corner and not noise."""


@dataclass(frozen=True)
class Problem:
    """What stays the same through the adjustment; `view` runs over the connected views only."""

    corners_m: ndarray
    """(corner, 3) in the board's frame, metres."""
    corners_px: ndarray
    """(view, frame, corner, 2), NaN where not seen."""
    T_cam_board: ndarray
    """(view, frame, 2, 4, 4) candidate poses."""
    prior: bundle.LensPrior
    fisheye: bool = False
    instant_s: ndarray | None = None
    """(frame,) when each frame was taken, for the delays."""
    own: int = 0
    """The last frames, each seen by one view alone: they tell about its lens and take part in every adjustment."""

    def scene(self, lens: ndarray, T_cam_world: ndarray, frames: ndarray) -> bundle.RigEstimate:
        """The cameras, and a first pose of the board in these frames."""
        quad_m = outer_corners(self.corners_m)
        poses = [place_board(T_cam_world, self.T_cam_board[:, f], quad_m) for f in frames]
        return bundle.RigEstimate(lens, T_cam_world, np.array(poses).reshape(-1, 4, 4), self.fisheye)

    def residual_px(self, scene: bundle.RigEstimate, frames: ndarray) -> ndarray:
        """(view, frame, corner, 2) seen minus put; infinite where a corner is behind the camera, NaN where not seen."""
        seen_px = self.corners_px[:, frames]
        everywhere = bundle.Sightings.from_grid(np.zeros_like(seen_px))
        put_px = bundle.project(scene, everywhere, self.corners_m).reshape(seen_px.shape)
        return np.where(np.isfinite(seen_px), np.nan_to_num(seen_px - put_px, nan=np.inf), np.nan)

    def length_px(self, scene: bundle.RigEstimate, frames: ndarray) -> ndarray:
        """(view, frame, corner) lengths of the residuals."""
        return np.linalg.norm(self.residual_px(scene, frames), axis=-1)

    def adjust(
        self, scene: bundle.RigEstimate, frames: ndarray, good: ndarray, free: ndarray, huber_px: float
    ) -> bundle.RigEstimate:
        """Adjust to the corners of these frames marked good (view, frame, corner)."""
        sightings = bundle.Sightings.from_grid(np.where(good[..., None], self.corners_px[:, frames], np.nan))
        return bundle.adjust(scene, sightings, self.corners_m, self.prior, free, huber_px)


@dataclass(frozen=True)
class Judged:
    """What a rig makes of frames it was not fitted to, but for the pose of the board in them."""

    frames: ndarray
    """(judged,) which frames."""
    scene: bundle.RigEstimate
    """The rig, and the board's poses in these frames."""
    length_px: ndarray
    """(view, judged, corner) lengths of the residuals, NaN where not seen."""
    depth_m: ndarray
    """(view, judged, corner) how far along the axis of the camera the corner is; of a fisheye, how far from it."""
    wrong: ndarray
    """(view, judged, corner) bool, corners too far out to be noise. All count where they are more than a few."""


@dataclass(frozen=True)
class Solution:
    """The rig after the adjustment; `view` runs over the problem's views, `frame` over its frames but for `own`."""

    scene: bundle.RigEstimate
    """The first camera is the world; board poses are NaN where no board was seen."""
    length_px: ndarray
    """(view, frame, corner) lengths of the residuals, NaN where not seen."""
    residual_px: ndarray
    """(view, frame, corner, 2) the residuals themselves."""
    adjusted: ndarray
    """(frame,) bool, frames the cameras were adjusted to."""
    judged: Judged
    """By the rig as it was before these frames were added."""
    sigma: bundle.RigSigma
    """How well each camera is known."""
    reject_px: float
    """Longer residuals are wrong corners."""
    delays: Delays
    """How late the views are by what is left of the residuals; NaN where the instants are not known."""

    @property
    def contradicted(self) -> ndarray:
        """(view,) bool, views most of whose corners are wrong: the rest of the rig disagrees with them."""
        seen = np.isfinite(self.length_px[:, self.adjusted])
        wrong = self.length_px[:, self.adjusted] > self.reject_px
        return wrong.sum((1, 2)) > 0.5 * np.maximum(seen.sum((1, 2)), 1)


class Solver(Protocol):
    """Another bundle adjustment in place of ours; the boards' poses, wrong corners and figures are found here alike."""

    @property
    def fitted(self) -> ndarray:
        """(15,) bool, the camera parameters that it adjusts."""
        ...

    def __call__(self, problem: Problem, scene: bundle.RigEstimate, frames: ndarray) -> tuple[ndarray, ndarray]:
        """(view, 9) lenses and (view, 4, 4) poses adjusted to these frames, from the scene; the first is the world."""
        ...


@dataclass(frozen=True)
class _Fit:
    """Cameras adjusted to some frames."""

    scene: bundle.RigEstimate
    reject_px: float
    problem: Problem
    """With the noise that was found."""
    good: ndarray
    """(view, frame, corner) bool, corners that counted."""
    free: ndarray
    """(view, 15) bool, camera parameters that were adjusted."""


def _fit(problem: Problem, scene: bundle.RigEstimate, frames: ndarray, rough: bool, solver: Solver | None) -> _Fit:
    """Cameras and boards; by another solver the cameras, and then the boards, wrong corners and noise as in ours.

    `rough` says that the scene is a first guess.
    """
    if solver is None:
        start = _rough_fit(problem, scene, frames, _free(scene)) if rough else scene
        return _fine_fit(problem, start, frames, _free(scene))
    scene = problem.scene(*solver(problem, scene, frames), frames)
    held = np.zeros((len(scene.lens), bundle.NUM_CAMERA), bool)
    fit = _fine_fit(problem, _rough_fit(problem, scene, frames, held), frames, held)
    return replace(fit, free=_free(scene) & solver.fitted)


def _rough_fit(problem: Problem, scene: bundle.RigEstimate, frames: ndarray, free: ndarray) -> bundle.RigEstimate:
    """Cameras and boards from a first guess, all corners, errors counted ever more strictly."""
    for huber_px in HUBER_STEPS_PX:
        # A corner behind the camera has no useful derivative; it comes back once the poses are roughly right.
        good = np.isfinite(problem.length_px(scene, frames))
        scene = problem.adjust(scene, frames, good, free, huber_px)
    return scene


def _fine_fit(problem: Problem, scene: bundle.RigEstimate, frames: ndarray, free: ndarray) -> _Fit:
    """Wrong corners left out, the priors weighed by the noise that is there."""
    length = problem.length_px(scene, frames)
    # The length of a two-dimensional Gaussian error has median 1.1774 sigma; the floor lets perfect data pass.
    reject_px = max(REJECT_SIGMAS * float(np.nanmedian(length)) / 1.1774, 1e-3)
    good = _without_stumps(length <= reject_px)
    noise_px = _effective_noise_px(np.where(good[..., None], problem.residual_px(scene, frames), np.nan))
    problem = replace(problem, prior=replace(problem.prior, noise_px=noise_px))
    scene = problem.adjust(scene, frames, good, free, HUBER_STEPS_PX[-1])
    return _Fit(scene, reject_px, problem, good, free)


def _free(scene: bundle.RigEstimate) -> ndarray:
    """(view, 15) bool: everything but the first camera's pose, which is the world."""
    free = np.ones((len(scene.lens), bundle.NUM_CAMERA), bool)
    free[0, :6] = False
    return free


def _rig_sigma(fit: _Fit, frames: ndarray) -> bundle.RigSigma:
    seen_px = np.where(fit.good[..., None], fit.problem.corners_px[:, frames], np.nan)
    sightings, prior = bundle.Sightings.from_grid(seen_px), fit.problem.prior
    return bundle.rig_sigma(fit.scene, sightings, fit.problem.corners_m, prior, fit.free, prior.noise_px)


def _delays(fit: _Fit, T_world_board: ndarray, frames: ndarray) -> Delays:
    """From the frames of the adjustment; the poses (frame, 4, 4) of all frames tell how the board moved."""
    problem = fit.problem
    if problem.instant_s is None:
        unknown = np.full(len(fit.scene.lens), np.nan)
        return Delays(unknown, unknown)
    velocity = board_velocity(T_world_board, problem.corners_m, problem.instant_s)[frames]
    seen_px = np.where(fit.good[..., None], problem.corners_px[:, frames], np.nan)
    return estimate_delays(fit.scene, seen_px, problem.corners_m, velocity, problem.prior, fit.free, HUBER_STEPS_PX[-1])


def _judge(problem: Problem, fit: _Fit, frames: ndarray) -> Judged:
    """Held-out frames: the cameras stay, the board's poses are fitted."""
    scene = replace(fit.scene, T_world_board=_adjust_boards(problem, fit.scene, frames, fit.reject_px))
    length_px = problem.length_px(scene, frames)
    T_cam_board = scene.T_cam_world[:, None] @ scene.T_world_board
    depth_m = T_cam_board[..., 2, :2] @ problem.corners_m[:, :2].T + T_cam_board[..., 2, 3:]
    if scene.fisheye:
        points = problem.corners_m @ np.swapaxes(T_cam_board[..., :3, :3], -1, -2) + T_cam_board[..., None, :3, 3]
        depth_m = np.linalg.norm(points, axis=-1)
    seen, wrong = ~np.isnan(length_px), length_px > fit.reject_px
    few = wrong.sum((1, 2)) <= FEW_WRONG * seen.sum((1, 2))
    return Judged(frames, scene, length_px, depth_m, wrong & few[:, None, None])


def _without_stumps(good: ndarray) -> ndarray:
    """Drop sightings of which rejection left too few corners for a pose."""
    return good & (good.sum(-1, keepdims=True) >= MIN_CORNERS)


def _effective_noise_px(residual_px: ndarray) -> float:
    """Noise of one coordinate, raised as far as the corners of one sighting err together.

    Cameras that are a few milliseconds apart, or a bent board, move all corners of a sighting the same way: twelve
    corners then say little more than one. Kish's design effect is that ratio of variances; without it the lens is
    bent to explain the motion of the board.
    """
    count = np.isfinite(residual_px[..., 0]).sum(-1)
    sums = np.nansum(residual_px, axis=2)[count > 0]
    variance = np.nanmean(residual_px**2)
    together = (sums**2).sum() / (2 * count.sum() * variance) if variance > 0 else 1.0
    return max(float(np.sqrt(variance * max(together, 1.0))), 1e-6)


def _adjust_boards(problem: Problem, scene: bundle.RigEstimate, frames: ndarray, reject_px: float) -> ndarray:
    """(frame, 4, 4) poses of the board in more frames, the cameras held."""
    if len(frames) == 0:
        return np.empty((0, 4, 4))
    scene = problem.scene(scene.lens, scene.T_cam_world, frames)
    held = np.zeros((len(scene.lens), bundle.NUM_CAMERA), bool)
    for huber_px in HUBER_STEPS_PX[1:]:
        good = np.isfinite(problem.length_px(scene, frames))
        scene = problem.adjust(scene, frames, good, held, huber_px)
    good = _without_stumps(problem.length_px(scene, frames) <= reject_px)
    return problem.adjust(scene, frames, good, held, HUBER_STEPS_PX[-1]).T_world_board


def adjust_rig(
    problem: Problem,
    lens: ndarray,
    T_cam_world: ndarray,
    sizes_px: ndarray,
    max_frames: int,
    solver: Solver | None = None,
) -> Solution:
    """Adjust the cameras to a choice of frames, judge them by others, add those; then the board's poses everywhere.

    `solver` is another bundle adjustment in place of ours.
    """
    shared = problem.corners_px.shape[1] - problem.own
    own = np.isfinite(problem.corners_px[:, shared:, :, 0]).any((0, 2))
    judge = _judging_frames(problem.corners_px[:, :shared], max_frames)
    shown_px = np.where(judge[:, None, None], np.nan, problem.corners_px[:, :shared])
    chosen = np.append(_choose_frames(shown_px, sizes_px, max_frames - int(judge.sum())), own)
    judge = np.append(judge, np.zeros_like(own))
    first = T_cam_world @ np.linalg.inv(T_cam_world[0])
    first[0] = np.eye(4)  # to the last bit
    frames = np.nonzero(chosen)[0]
    fit = _fit(problem, problem.scene(lens, first, frames), frames, True, solver)
    judged = _judge(problem, fit, np.nonzero(judge)[0])

    adjusted = chosen | judge
    poses = np.full((len(adjusted), 4, 4), np.nan)
    poses[frames], poses[judged.frames] = fit.scene.T_world_board, judged.scene.T_world_board
    frames = np.nonzero(adjusted)[0]
    fit = _fit(problem, replace(fit.scene, T_world_board=poses[frames]), frames, False, solver)
    poses[frames] = fit.scene.T_world_board
    others = np.nonzero(np.any(np.isfinite(problem.corners_px[..., 0]), axis=(0, 2)) & ~adjusted)[0]
    for start in range(0, len(others), max_frames):
        block = others[start : start + max_frames]
        poses[block] = _adjust_boards(problem, fit.scene, block, fit.reject_px)
    scene = replace(fit.scene, T_world_board=poses[:shared])
    residual_px = problem.residual_px(scene, np.arange(shared))
    length_px = np.linalg.norm(residual_px, axis=-1)
    delays, sigma = _delays(fit, poses, frames), _rig_sigma(fit, frames)
    return Solution(scene, length_px, residual_px, adjusted[:shared], judged, sigma, fit.reject_px, delays)


def _judging_frames(corners_px: ndarray, max_frames: int) -> ndarray:
    """(frame,) bool: every fifth frame that two views share, or fewer; none where that leaves too little to fit."""
    shared = np.nonzero(np.isfinite(corners_px[..., 0]).any(-1).sum(0) >= 2)[0]
    step = max(JUDGE_EVERY, -(-len(shared) // max(max_frames // JUDGE_EVERY, 1)))
    judge = np.zeros(corners_px.shape[1], bool)
    if len(shared) < MIN_JUDGED_FROM:
        return judge
    judge[shared[step // 2 :: step]] = True
    return judge


def lens_prior(lens: ndarray, sizes_px: ndarray, fisheye: bool = False) -> bundle.LensPrior:
    """The widths of `LENS_SIGMA`, or also of `FISHEYE_SIGMA`, around a neutral lens."""
    views, sigma = len(lens), LENS_SIGMA
    rows = np.zeros((views, 8, bundle.NUM_LENS))
    values = np.zeros((views, 8))
    aspect = 1 / (sigma["aspect"] * lens[:, 0])
    rows[:, 0, 0], rows[:, 0, 1] = aspect, -aspect
    center = 1 / (sigma["center"] * sizes_px[:, 0])
    for row, column in ((1, 2), (2, 3)):
        rows[:, row, column] = center
        values[:, row] = center * (sizes_px[:, row - 1] - 1) / 2
    pinhole = {name: sigma[name] for name in ("k1", "k2", "p1", "p2", "k3")}
    for row, width in enumerate((FISHEYE_SIGMA if fisheye else pinhole).values(), start=3):
        rows[:, row, row + 1] = 1 / width
    return bundle.LensPrior(rows, values, PIXEL_NOISE_PX)


def outer_corners(corners_m: ndarray) -> ndarray:
    """(4, 3) corners of the rectangle around the board's corners, metres."""
    low, high = corners_m.min(0), corners_m.max(0)
    return np.array([[x, y, 0.0] for x in (low[0], high[0]) for y in (low[1], high[1])])


def _choose_frames(corners_px: ndarray, sizes_px: ndarray, max_frames: int) -> ndarray:
    """(frame,) bool: views take turns, each adding the sighting most unlike those it has taken, among the slower."""
    usable = np.any(np.isfinite(corners_px[..., 0]), axis=-1)
    if usable.any(0).sum() <= max_frames:
        return usable.any(0)
    # A frame that many views share counts for all of them; half as many wishes as frames is plenty per view.
    count = max_frames // 2
    slow = [slow_sightings(corners, seen, 2 * count) for corners, seen in zip(corners_px, usable, strict=True)]
    wishes = [spread_frames(corners_px[v], slow[v], sizes_px[v], count) for v in range(len(usable))]
    chosen = np.zeros(usable.shape[1], bool)
    for turn in range(max(len(w) for w in wishes)):
        for wish in wishes:
            if turn < len(wish) and chosen.sum() < max_frames:
                chosen[wish[turn]] = True
    return chosen
