"""What the views of a session agree on with a detector: new labels, and how good the detector is."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy import ndarray

from ...core.cameras import Cameras
from ...core.engine import Progress
from ...core.errors import SessionError
from ...core.hands import MANO_JOINT, NUM_JOINTS, NUM_MANO_JOINTS, RIGHT
from ...hand.anatomy import bone_variation
from ...hand.model import forward_kinematics, local_rotations
from .detector import PASSES, refine
from .detector_file import KnownDetector
from .judge import Judged, joined
from .labels import Labels
from .sources import Source, images

JUDGED = 1500
"""Hands to be judged by, at most, per session."""
CONSTANT = 0.05
"""Share of their lengths by which bones between MediaPipe's landmarks are constantly off: the median of the small
synthetic session. Lengths that are off by a constant share do not vary, so it is added to what they vary by."""

CARRIER = np.where(MANO_JOINT >= 0, MANO_JOINT, np.roll(MANO_JOINT, 1))
"""(21,) MANO's joint with which each joint moves: a fingertip with the one before it."""

Agree = Callable[[Cameras, ndarray, ndarray | None], ndarray]
"""The joints (frame, hand, 21, 3) in metres that detections (view, frame, hand, 21, 2) agree on, NaN where they do not;
the third argument is their uncertainty (view, frame, hand, 21) in pixels, if it is known. It is handed in, because
triangulation builds on this package."""


def look(
    source: Source, known: KnownDetector, chosen: ndarray, start_px: ndarray, passes: int, progress: Progress
) -> tuple[ndarray, ndarray]:
    """What a detector sees of chosen hands (view, frame, hand).

    Args:
        source: with the clips.
        known: the detector.
        chosen: bool.
        start_px: (view, frame, hand, 21, 2) where it begins to look.
        passes: how many times it looks.
        progress: advances by each hand.

    Returns:
        (view, frame, hand, 21, 2) joints and (view, frame, hand, 21) their standard errors, pixels; NaN elsewhere.
    """
    points, sigma = np.full((*chosen.shape, NUM_JOINTS, 2), np.nan), np.full((*chosen.shape, NUM_JOINTS), np.nan)
    for view, frame, image in images(source, np.any(chosen, axis=-1)):
        hands = np.flatnonzero(chosen[view, frame])
        found = refine(known, image, start_px[view, frame, hands], (hands == RIGHT).astype(float), passes)
        points[view, frame, hands], sigma[view, frame, hands] = found.points_px, found.sigma_px
        progress.advance(len(hands))
    return points, sigma


def relabelled(source: Source, known: KnownDetector, agree: Agree, progress: Progress) -> Source | None:
    """The session with new labels: what the views agree on with another detector, in the images that are learnt from.

    None if the bones of what they agree on vary more in length than those of the session's own detector are off. The
    renders that the other one has learnt from do not resemble the session's hands then.
    """
    chosen = source.labels.trusted & ~source.held_out[..., None]
    progress.start("label", int(chosen.sum()), 0, "hands")
    # One look: the fit says where the hands are better than a detection does.
    points, sigma = look(source, known, chosen, source.labels.points_px, 1, progress)
    progress.stop()
    taken = np.where(chosen[..., None, None], source.taken_px, np.nan)
    joints_m, before_m = (
        agree(source.cameras, seen - source.lag_px, said) for seen, said in ((points, sigma), (taken, None))
    )
    expected = np.asarray(np.isfinite(before_m).all(-1))
    now, before = (bone_variation(joints, expected) for joints in (joints_m, before_m))
    progress.say(
        f"{source.name}: in what the views agree on, bones vary in length by {100 * now:.2f} % with what was learnt "
        f"from renders, and by {100 * before:.2f} % with the session's detector"
    )
    if not (np.isfinite(now) and now <= np.hypot(before, CONSTANT)):
        return None
    return _labelled(source, joints_m)


def as_detected(source: Source) -> Source:
    """The session with the joints of its own detector as labels, in place of the hand model's, as the fit knows them:
    each at a constant place (`shape/offsets`) on a hand whose bones do not change their length."""
    store = source.store
    orient, pose = (store.read("mano", name).astype(float) for name in ("global_orient", "hand_pose"))
    # Where the joints rest does not matter to how they are turned.
    R_world, _ = forward_kinematics(local_rotations(orient, pose), np.zeros((NUM_MANO_JOINTS, 3)))
    offsets_m = store.read("shape", "offsets").astype(float)
    moved_m = np.einsum("fhjab,hjb->fhja", R_world[..., CARRIER, :, :], offsets_m)
    return _labelled(source, source.hands.joints_m + moved_m)


def _labelled(source: Source, joints_m: ndarray) -> Source:
    points_px = source.cameras.project(joints_m) + source.lag_px
    clear = np.isfinite(points_px).all((-1, -2)) | source.held_out[..., None]
    return replace(source, labels=Labels(points_px, source.labels.trusted & clear))


def judge(sources: Sequence[Source], known: KnownDetector, agree: Agree, progress: Progress) -> Judged:
    """Hands in held-out frames, by the session's detector and by the new one, which starts from the same places.

    Args:
        sources: the sessions.
        known: the new detector.
        agree: triangulates what the detectors see.
        progress: where to show it.
    """
    chosen = [_judged(source) for source in sources]
    progress.start("judge", sum(int(each.sum()) for each in chosen), 0, "hands")
    parts = [_judge(source, each, known, agree, progress) for source, each in zip(sources, chosen, strict=True)]
    progress.stop()
    return joined(parts)


def _judged(source: Source) -> ndarray:
    """(view, frame, hand) bool, hands in held-out frames that the session's detector found, in evenly thinned frames,
    with all their views."""
    found = np.isfinite(source.taken_px).all((-1, -2))
    of_all = np.asarray(source.held_out.all(axis=0))
    chosen = source.labels.trusted & of_all[None, :, None] & found
    of_frame = chosen.sum((0, 2))
    frames = np.flatnonzero(of_frame)
    if not len(frames):
        raise SessionError(
            f"{source.name}: expected detections in the held-out frames to be judged by, but found none. Record longer."
        )
    count = max(1, int(len(frames) * min(1.0, JUDGED / of_frame.sum())))
    kept = np.zeros(chosen.shape[1], bool)
    kept[frames[np.linspace(0, len(frames) - 1, count).round().astype(int)]] = True
    return chosen & kept[None, :, None]


def _judge(source: Source, chosen: ndarray, known: KnownDetector, agree: Agree, progress: Progress) -> Judged:
    before = np.where(chosen[..., None, None], source.taken_px, np.nan)
    after, sigma = look(source, known, chosen, source.taken_px, PASSES, progress)
    frames = np.flatnonzero(chosen.any((0, 2)))

    def agreed_px(seen_px: ndarray, sigma_px: ndarray | None) -> ndarray:
        lag_px = source.lag_px[:, frames]
        return source.cameras.project(agree(source.cameras, seen_px[:, frames] - lag_px, sigma_px)) + lag_px

    there = chosen[:, frames] & np.isfinite(after[:, frames]).all((-1, -2))
    right = np.broadcast_to(np.arange(there.shape[2]) == RIGHT, there.shape)
    new_view = np.broadcast_to(source.new_view[:, None, None], there.shape)
    seen = (before[:, frames], agreed_px(before, None), after[:, frames], agreed_px(after, sigma[:, frames]))
    return Judged(*(part[there] for part in (*seen, right, new_view)))
