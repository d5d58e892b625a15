"""Metrics of generated motion: distances between feature sets, smoothness, errors at controls, contact.

Joints are (..., frame, hand, 21, 3) metres at `fps` frames per second; features are (sample, feature) from an
`Evaluator`. Sums are taken in float64, so that figures do not depend on how the samples were batched.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ...core.hands import CONTACT_M
from ..model.motion import Motion
from ..model.penetration import penetration_depth_m

SEAM_FRAMES = 3
"""Frames around a keyframe that count as a seam."""


# ---- distributions of features -------------------------------------------------------------------------------------


def frechet_distance(features: Tensor, reference: Tensor) -> float:
    """Squared 2-Wasserstein distance of the Gaussians fitted to two feature sets (FID: Heusel et al. 2017, eq. 6).

    |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)). S1 S2 has the eigenvalues of the symmetric A S2 A with A = S1^(1/2),
    so two `eigh` replace the general matrix root (`scipy.linalg.sqrtm`), which turns complex where a covariance is
    singular. It is biased upwards for few samples: compare sets of equal size only.

    Args:
        features, reference: (sample, feature), two samples or more each.
    """
    (mean_1, cov_1), (mean_2, cov_2) = _gaussian(features), _gaussian(reference)
    root_1 = _root(cov_1)
    cross = torch.linalg.eigvalsh(root_1 @ cov_2 @ root_1).clamp(min=0).sqrt().sum()
    distance = (mean_1 - mean_2).square().sum() + cov_1.trace() + cov_2.trace() - 2 * cross
    return max(0.0, float(distance))


def _gaussian(features: Tensor) -> tuple[Tensor, Tensor]:
    features = features.double()
    mean = features.mean(0)
    centered = features - mean
    return mean, centered.T @ centered / (len(features) - 1)


def _root(covariance: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


def kernel_distance(features: Tensor, reference: Tensor) -> float:
    """Unbiased squared maximum mean discrepancy with the kernel (x.y / dim + 1)^3 (KID: Binkowski et al. 2018, eq. 4).

    Its mean over draws does not depend on the number of samples; of equal distributions it is 0, so single values may
    be negative. All samples are used at once: subsets, as in image KID, only save memory that some thousand samples do
    not need.

    Args:
        features, reference: (sample, feature), two samples or more each.
    """
    x, y = features.double(), reference.double()
    within = [(k.sum() - k.trace()) / (len(k) * (len(k) - 1)) for k in (_kernel(x, x), _kernel(y, y))]
    return float(within[0] + within[1] - 2 * _kernel(x, y).mean())


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[-1] + 1) ** 3


@dataclass(frozen=True)
class Support:
    """Precision and recall of two sets, 0 to 1."""

    precision: float
    """Share of the generated samples within the support of the real ones."""
    recall: float
    """Share of the real samples within the support of the generated ones."""


def precision_recall(features: Tensor, reference: Tensor, neighbours: int = 5) -> Support:
    """Improved precision and recall (Kynkaanniemi et al. 2019): a set's support is the union of the balls about its
    samples that reach to their k-th nearest neighbour in the set.

    Args:
        features, reference: (sample, feature), more than `neighbours` samples each; of equal size, or the balls of the
            larger set are smaller.
        neighbours: k.
    """
    x, y = features.double(), reference.double()
    apart = _distances(x, y)
    # The nearest of all is the sample itself.
    reach_x, reach_y = (_distances(each, each).kthvalue(neighbours + 1, dim=-1).values for each in (x, y))
    return Support(
        precision=float((apart <= reach_y).any(1).double().mean()),
        recall=float((apart <= reach_x[:, None]).any(0).double().mean()),
    )


def _distances(x: Tensor, y: Tensor) -> Tensor:
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")


def multimodality(features: Tensor) -> float:
    """Multimodality: mean distance between features of motions with the same controls (Guo et al. 2020), over all
    pairs.

    Args:
        features: (condition, sample, feature), two samples or more.
    """
    return float(torch.stack([torch.nn.functional.pdist(each).mean() for each in features.double()]).mean())


def diversity(features: Tensor, subset: int = 500, seed: int = 0) -> float:
    """Diversity: mean distance between the features of different samples.

    Guo et al. 2020 average over some random pairs; all pairs of a random subset vary less and cost nothing.

    Args:
        features: (sample, feature), two samples or more.
        subset: samples to compare at most.
        seed: of the choice.
    """
    order = torch.randperm(len(features), generator=torch.Generator().manual_seed(seed))
    chosen = features.double()[order[:subset].to(features.device)]
    return float(torch.nn.functional.pdist(chosen).mean())


# ---- smoothness ----------------------------------------------------------------------------------------------------


def jerk(joints_m: Tensor, fps: float) -> Tensor:
    """(..., frame - 3, hand, 21) size of the third derivative in m/s^3; entry k is at the time of frame k + 1.5."""
    return joints_m.double().diff(n=3, dim=-4).norm(dim=-1) * fps**3


def seam_ratio(joints_m: Tensor, keyframes: Tensor, fps: float) -> float:
    """Mean jerk within `SEAM_FRAMES` frames of the keyframes, over the mean jerk elsewhere: 1 where nothing shows.

    Args:
        joints_m: (sample, frame, hand, 21, 3).
        keyframes: (sample, frame) or (frame,) bool, True where a pose was given.

    Returns:
        The ratio over all samples; NaN where all frames, or none, are near a keyframe.
    """
    frames = joints_m.shape[-4]
    size = jerk(joints_m, fps).mean(dim=(-1, -2))
    time = torch.arange(frames, device=joints_m.device)
    near = (time[:-3, None] + 1.5 - time).abs() <= SEAM_FRAMES
    at_seam = (near & keyframes[..., None, :]).any(-1).broadcast_to(size.shape)
    return float(size[at_seam].mean() / size[~at_seam].mean())


# ---- errors at controls --------------------------------------------------------------------------------------------


def joint_error_m(joints_m: Tensor, truth_m: Tensor, where: Tensor | None = None) -> float:
    """Mean distance between joints and their truth, metres.

    Args:
        joints_m, truth_m: (..., frame, hand, 21, 3).
        where: bool (..., frame, hand), what counts; everything by default.
    """
    distance = (joints_m.double() - truth_m.double()).norm(dim=-1)
    return float(distance.mean() if where is None else distance[where.broadcast_to(distance.shape[:-1])].mean())


def missed(distance_mm: Tensor, has: Tensor, limit_mm: float) -> float:
    """Share of the clips that miss any of their controls by more than a limit (trajectory error: Karunratanakul et al.
    2023, GMD).

    Args:
        distance_mm: (clip, frame, hand) between what was given and what was made.
        has: (clip, frame, hand) bool, where something was given: somewhere in each clip.
        limit_mm: what is still met.
    """
    return float((has & (distance_mm > limit_mm)).flatten(1).any(1).double().mean())


@dataclass(frozen=True)
class KeyframeErrors:
    """Errors of a motion at its controls; NaN where there are none of the kind."""

    wrist_mm: float
    """Mean over the given wrist positions."""
    orient_deg: float
    """Mean angle over the given wrist orientations."""
    pose_deg: float
    """Mean angle over all finger joints of the given poses."""
    worst_wrist_mm: float
    worst_orient_deg: float
    worst_pose_deg: float


def keyframe_errors(
    motion: Motion, given: Motion, has_wrist: Tensor, has_orient: Tensor, has_pose: Tensor
) -> KeyframeErrors:
    """Compare a motion with its controls, quantity by quantity.

    Args:
        motion: what was generated.
        given: the controls' values.
        has_wrist, has_orient, has_pose: bool (..., frame, hand), what was given.
    """
    wrist_mm = 1000 * (motion.wrist_m.double() - given.wrist_m.double()).norm(dim=-1)[has_wrist]
    orient_deg = angle_deg(motion.R_world_wrist, given.R_world_wrist)[has_orient]
    pose_deg = angle_deg(motion.R_pose, given.R_pose)[has_pose]
    parts = (wrist_mm, orient_deg, pose_deg)
    worst = [float(part.max()) if part.numel() else math.nan for part in parts]
    return KeyframeErrors(*(float(part.mean()) for part in parts), *worst)


def angle_deg(R: Tensor, Q: Tensor) -> Tensor:
    """(...) angle between (..., 3, 3) rotations, degrees, exact also for tiny ones: |R - Q|_F = 2 sqrt(2) sin(a/2)."""
    half_sine = (R.double() - Q.double()).flatten(-2).norm(dim=-1) / math.sqrt(8)
    return torch.rad2deg(2 * torch.asin(half_sine.clamp(max=1)))


# ---- the hands' interaction ----------------------------------------------------------------------------------------


def contact_pairs(joints_m: Tensor, threshold_m: float = CONTACT_M) -> Tensor:
    """bool (..., frame, 21, 21): which joints of the left hand (rows) touch which of the right.

    Of each frame, `contact_pairs(...).any((-1, -2))` says whether the hands touch at all.
    """
    left, right = joints_m.unbind(-3)
    return torch.cdist(left, right, compute_mode="donot_use_mm_for_euclid_dist") < threshold_m


@dataclass(frozen=True)
class Detection:
    """Agreement of predicted booleans with true ones. Precision is 1 if nothing is predicted; recall is 1 if nothing is
    true."""

    precision: float
    recall: float
    f1: float


def detection(found: Tensor, truth: Tensor) -> Detection:
    """Precision, recall and F1 of bool answers, over all their entries; for contact of frames or of pairs of joints."""
    assert found.shape == truth.shape, (found.shape, truth.shape)
    hits, claimed, there = (int(part.sum()) for part in (found & truth, found, truth))
    return Detection(
        precision=hits / claimed if claimed else 1.0,
        recall=hits / there if there else 1.0,
        f1=2 * hits / (claimed + there) if claimed + there else 1.0,
    )


@dataclass(frozen=True)
class Penetration:
    """Depth and frequency of penetration of the hands."""

    mean_mm: float
    """Mean depth over all frames, 0 where they are apart."""
    worst_mm: float
    share: float
    """Share of the frames that are deeper than the tolerance."""


def penetration(joints_m: Tensor, tolerance_m: float = 0.002) -> Penetration:
    """Summarise the penetration of the hands of (..., frame, hand, 21, 3) joints.

    Args:
        joints_m: metres.
        tolerance_m: depth that is tolerated, because fingertips deform when they press.
    """
    depth_m = penetration_depth_m(joints_m).double()
    share = (depth_m > tolerance_m).double().mean()
    return Penetration(float(1000 * depth_m.mean()), float(1000 * depth_m.max()), float(share))
