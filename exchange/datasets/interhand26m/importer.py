"""`handpipe import interhand26m`: datasets become sessions of keypoints, cameras and, where there is any, MANO."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy import ndarray

from ....core.engine import Progress
from ....core.errors import ConfigError, SessionError
from ....core.files import UNCHECKED
from ....core.hands import HANDS
from ....hand.anatomy import SCALE_RANGE
from ....hand.keypoints import Keypoints, check_fps, check_hands, check_sigma, guess_unit, size_of, where_seen
from ....hand.loading import hand_models
from ....hand.model import HandModel
from ....hand.plausibility import check_mano, zero_frames
from ....hand.presence import hand_is_there
from ...imported_session import ImportedSession, write_imported
from ...importing import Imported, content_hash
from .arrays import mano_in
from .images import ImagePaths, film_session, find_images
from .reader import MANO_KIND, DatasetSequence, find_files, pooled, read_sequences
from .writer import NOTES

CODE = 2
"""Raised when the same files would give other numbers."""

APART_M = 0.02
"""Median distance of MANO's joints from the dataset's: another model's or another
hand's are farther."""


@UNCHECKED
def import_interhand26m(
    folder: Path,
    root: Path,
    only: Sequence[str],
    fps: float,
    unit_m: float,
    sigma_m: float,
    hand_model: str | None,
    progress: Progress,
    images: Path | None = None,
) -> Imported:
    """InterHand2.6M's annotations to sessions `root`/Capture*/<sequence>.

    Args:
        folder: of the annotation files.
        root: where the sessions go.
        only: patterns such as `Capture3/*touch*`; empty takes all.
        fps: of the dataset: 30 or 5, by the release.
        unit_m: metres in one unit of the files.
        sigma_m: standard error of the joints, metres.
        hand_model: folder of the hand model that NeuralAnnot is for; None is the procedural hand.
        progress: where to show it.
        images: tree of the dataset's images, to make clips of them; the labels are the session's truth then.

    Raises:
        SessionError: a file is not what it should be, or its joints are not hands by their anatomy.
    """
    for name, value in (("fps", fps), ("unit-m", unit_m), ("sigma-m", sigma_m)):
        if not 0 < value < np.inf:
            raise ConfigError(f"--{name}: expected a number above zero, but got {value:g}. Correct it.")
    check_sigma(np.array(sigma_m), "--sigma-m")
    check_fps(fps, "--fps")
    files = find_files(folder)
    with_mano = MANO_KIND in files
    sequences, messages = read_sequences(files, only, unit_m, with_mano)
    _check(sequences, files["joint_3d"], unit_m)
    models = hand_models(hand_model) if with_mano else None
    if models is not None and not _fits(sequences, models, files[MANO_KIND], hand_model, messages, fps):
        models = None
    ids = None if models is None else [model.model_id for model in models]
    fingerprint = {
        "settings": {"fps": fps, "unit_m": unit_m, "sigma_m": sigma_m, "hand_model": ids},
        "inputs": {kind: content_hash(path) for kind, path in files.items()},
        "code": CODE,
    }
    names = {kind: path.name for kind, path in files.items()}
    shown: Sequence[ImagePaths | None] = [None] * len(sequences)
    if images is not None:
        shown, missing = find_images(sequences, images)
        messages += missing
        # A sequence without any image is no session with clips.
        sequences, shown = zip(*((s, i) for s, i in zip(sequences, shown, strict=True) if any(i.values())), strict=True)
    total = sum(1 if each is None else sum(map(len, each.values())) for each in shown)
    written = []
    progress.start("import", total, 0, "sequences" if images is None else "images")
    try:
        for each, clips in zip(sequences, shown, strict=True):
            session = _session(each, fps, sigma_m, models)
            own = {**fingerprint, "settings": {**fingerprint["settings"], "sequence": each.place}}
            if clips is None:
                new = write_imported(root / each.place, session, own, names)
                progress.advance(1)
            else:
                new, warnings = film_session(root / each.place, session, clips, own, names, progress)
                messages += warnings
            written += [each.place] * new
    finally:
        progress.stop()
    frames = sum(len(each.points_m) for each in sequences)
    figures = {
        "sessions": [str(root / each.place) for each in sequences],
        "frames": frames,
        "fps": fps,
        "computed": written,
    }
    what = "joints, cameras and MANO" if models is not None else "joints and cameras"
    messages.append(
        f"{root}: {len(sequences)} sequences, {frames} frames, {what}; {len(written)} imported, "
        f"{len(sequences) - len(written)} up to date"
    )
    return figures, messages


def _check(sequences: Sequence[DatasetSequence], path: Path, unit_m: float) -> None:
    """All frames together, since one odd sequence may well look like another hand."""
    if not sequences:
        return
    points_m = pooled(sequences).astype(np.float64)
    size = size_of(points_m)
    if np.isfinite(size) and not SCALE_RANGE[0] < size < SCALE_RANGE[1]:
        name, factor = guess_unit(points_m / unit_m)
        raise SessionError(
            f"{path}: expected hands of {SCALE_RANGE[0]} to {SCALE_RANGE[1]} times an adult's size, but found "
            f"{size:.3g} times. The joints look like {name}: use --unit-m {factor:g}."
        )
    keypoints = where_seen(points_m, np.ones(points_m.shape[:-1]), 1.0)
    check_hands(
        keypoints,
        str(path),
        swap="exchange the first and the last 21 joints of every frame",
        mirror="negate x of the joints and of the cameras",
        order="write them in the order of InterHand2.6M's skeleton.txt, fingers from the tip",
    )


def _session(
    each: DatasetSequence, fps: float, sigma_m: float, models: tuple[HandModel, HandModel] | None
) -> ImportedSession:
    keypoints = where_seen(each.points_m, np.full(each.points_m.shape[:-1], sigma_m, np.float32), fps)
    notes = {
        "capture": each.capture,
        "subject": each.subject,
        "sequence": each.name,
        "first_frame_idx": each.first_frame_idx,
        "frame_idx_step": each.frame_idx_step,
    }
    mano = _mano(each, models) if models is not None and each.mano else None
    return ImportedSession(
        fps=fps,
        keypoints=Keypoints(keypoints.points_m.astype(np.float32), keypoints.sigma_m.astype(np.float32), fps),
        mano=mano,
        hand_model=None if models is None else (models[0].model_id, models[1].model_id),
        cameras=each.cameras if len(each.cameras) else None,
        imaged=each.imaged if len(each.cameras) else None,
        notes={NOTES: notes},
    )


def _mano(each: DatasetSequence, models: tuple[HandModel, HandModel]) -> dict[str, ndarray]:
    """The arrays of the group `mano`. A sequence has one shape: the median of its frames."""
    frames = len(each.points_m)
    shapes = {"global_orient": (3,), "hand_pose": (45,), "transl": (3,), "joints": (21, 3), "residual": ()}
    out: dict[str, ndarray] = {
        name: np.full((frames, len(HANDS), *shape), np.nan, np.float32) for name, shape in shapes.items()
    }
    out |= {"betas": np.full((len(HANDS), 10), np.nan, np.float32), "valid": np.zeros((frames, len(HANDS)), bool)}
    for hand, found in each.mano.items():
        index = HANDS.index(hand)
        there = np.isfinite(found.pose).all(axis=-1)
        out["betas"][index] = np.median(found.betas[there], axis=0)
        out["global_orient"][:, index], out["hand_pose"][:, index] = mano_in(found.pose, models[index].hands_mean)
        out["transl"][:, index], out["valid"][:, index] = found.transl, there
        joints = models[index].joints(
            out["betas"][index].astype(np.float64),
            *(out[name][there, index].astype(np.float64) for name in ("global_orient", "hand_pose", "transl")),
        )
        out["joints"][there, index] = joints
        apart_m = np.linalg.norm(out["joints"][:, index] - each.points_m[:, index], axis=-1)
        known = np.isfinite(apart_m)
        square = np.where(known, apart_m, 0.0) ** 2
        seen = known.any(axis=-1)
        out["residual"][seen, index] = np.sqrt(square.sum(axis=-1)[seen] / known.sum(axis=-1)[seen])
    out["zeros"] = zero_frames(out)
    out["valid"] = hand_is_there(out) & ~out["zeros"]
    return out


def _fits(
    sequences: Sequence[DatasetSequence],
    models: tuple[HandModel, HandModel],
    path: Path,
    hand_model: str | None,
    messages: list[str],
    fps: float,
) -> bool:
    """Whether the hand model puts MANO's joints where the dataset's are; nothing else tells which model it is for."""
    motions = [_mano(each, models) for each in sequences if each.mano]
    for motion in motions:
        messages += check_mano(str(path), motion, fps)
    residual = [motion["residual"].ravel() for motion in motions]
    known = np.concatenate(residual) if residual else np.empty(0)
    known = known[np.isfinite(known)]
    if not len(known) or np.median(known) < APART_M:
        return len(known) > 0
    found = f"{1e3 * np.median(known):.0f} mm from the dataset's"
    if hand_model is None:
        messages.append(
            f"warning: MANO left out: with the procedural hand its joints are {found}. Name the folder of the official "
            "hands with --hand-model"
        )
        return False
    raise SessionError(
        f"{path}: expected MANO of the hands in {hand_model}, but its joints are {found}. Name another folder with "
        "--hand-model, or move the file away to import the joints alone."
    )
