"""A monocular lifter: 2D joints of both hands in one picture to 3D, learnt from clips of motion seen by random cameras.

As is usual for one camera (Zimmermann & Brox 2017), the hands' size is given: lengths are in palms, the mean distance
from wrist to middle knuckle of the two hands, and errors are turned back into millimetres.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy import ndarray
from scipy.spatial.transform import Rotation
from torch import Tensor, nn

from handpipe.core.hands import HANDS
from handpipe.core.storage.store import Store
from handpipe.hand.model import HandModel

SHAPES = 4
"""Hand shapes in which a clip is shown in training, beside its own: as `handpipe augment` draws them."""

SHAPE_STD = 0.7

WIDTH, BLOCKS, BATCH = 256, 3, 256

RATE = 2e-3

VIEWS = 4
"""Cameras that see each frame of the test."""


@dataclass(frozen=True, eq=False)
class Clips:
    """Motion to learn from or to be tested on."""

    joints_m: Tensor
    """(frame, 2, 21, 3) float32 world."""
    clip: ndarray
    """(frame,) which clip it belongs to: what is drawn together in the bootstrap."""


@dataclass(frozen=True)
class Shake:
    """Noise on every frame of a motion: the cheapest way to more poses. Standard deviations."""

    pose_rad: float = 0.3
    """Of each finger joint."""
    orient_rad: float = 0.4
    wrist_m: float = 0.05


def read_clips(
    url: str,
    samples: Sequence[int] | None,
    frames: slice,
    clip_frames: int,
    shapes: int,
    seed: int,
    shake: Shake | None = None,
) -> Clips:
    """Joints of a store's motion, in its own hand shape and others.

    Args:
        url: of a store with a group `mano`.
        samples: which, if it has samples; None for a session.
        frames: of each.
        clip_frames: frames that count as one clip.
        shapes: further shapes.
        seed: of those, and of the noise.
        shake: noise, drawn anew in every shape; None for none.
    """
    store = Store(url)
    rng = np.random.default_rng(seed)
    models = [HandModel.procedural(side) for side in HANDS]
    parts, clips, first = [], [], 0
    for sample in [None] if samples is None else samples:
        region = (frames,) if sample is None else (sample, frames)
        orient, pose, transl = (store.read("mano", name, region) for name in ("global_orient", "hand_pose", "transl"))
        own = store.read("mano", "betas", None if sample is None else (sample,))
        valid = np.asarray(store.read("mano", "valid", region).all(axis=-1), bool)
        clip = first + np.arange(len(valid)) // clip_frames
        first = clip[-1] + 1
        for number in range(1 + shapes):
            betas = own + (rng.normal(0, SHAPE_STD, 10) if number else 0.0)
            numbers = (orient, pose, transl) if shake is None else _shaken(orient, pose, transl, shake, rng)
            both = [models[h].joints(betas[h], *(part[:, h] for part in numbers)) for h in range(2)]
            parts.append(np.stack(both, axis=1)[valid])
            clips.append(clip[valid])
    return Clips(torch.from_numpy(np.concatenate(parts)).float(), np.concatenate(clips))


def _shaken(
    orient: ndarray, pose: ndarray, transl: ndarray, shake: Shake, rng: np.random.Generator
) -> tuple[ndarray, ndarray, ndarray]:
    def turned(vectors: ndarray, rad: float) -> ndarray:
        each = vectors.reshape(-1, 3)
        return (Rotation.from_rotvec(rng.normal(0, rad, each.shape)) * Rotation.from_rotvec(each)).as_rotvec()

    return (
        turned(orient, shake.orient_rad).reshape(orient.shape),
        turned(pose, shake.pose_rad).reshape(pose.shape),
        transl + rng.normal(0, shake.wrist_m, transl.shape),
    )


def seen(joints_m: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Each frame by a camera of its own, anywhere around the hands.

    Returns:
        (frame, 84) 2D joints, centred and scaled; (frame, 129) what they mean, in palms: joints from their wrists, and
        the right wrist from the left one, in the camera's frame; (frame,) the palm in metres.
    """
    count = len(joints_m)
    q, r = torch.linalg.qr(torch.randn(count, 3, 3, generator=rng))
    R = q * torch.sign(torch.diagonal(r, dim1=-2, dim2=-1))[:, None]
    R = R * torch.sign(torch.det(R))[:, None, None]
    points = (joints_m - joints_m.mean(dim=(1, 2), keepdim=True)) @ R.mT[:, None]
    radius = points.norm(dim=-1).amax(dim=(1, 2))
    distance = radius * (1.6 + 4.0 * torch.rand(count, generator=rng))
    uv = points[..., :2] / (points[..., 2:] + distance[:, None, None, None])
    uv = uv - uv.mean(dim=(1, 2), keepdim=True)
    uv = uv / uv.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
    palm = (points[:, :, 9] - points[:, :, 0]).norm(dim=-1).mean(dim=1)
    relative = points - points[:, :, :1]
    wrists = points[:, 1, 0] - points[:, 0, 0]
    target = torch.cat([relative.flatten(1), wrists], dim=1) / palm[:, None]
    return uv.flatten(1), target, palm


class Lifter(nn.Module):
    """A residual network of fully connected layers (Martinez et al. 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(84, WIDTH)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))
            for _ in range(BLOCKS)
        )
        self.last = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 129))

    def forward(self, uv: Tensor) -> Tensor:
        x = self.first(uv)
        for block in self.blocks:
            x = x + block(x)
        return self.last(x)


def learnt(sources: Sequence[Clips], steps: int, seed: int) -> Lifter:
    """A lifter from motion; every source has the same share of each batch."""
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    lifter = Lifter()
    optimizer = torch.optim.AdamW(lifter.parameters(), RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    share = BATCH // len(sources)
    for _ in range(steps):
        drawn = [one.joints_m[torch.randint(len(one.joints_m), (share,), generator=rng)] for one in sources]
        uv, target, _ = seen(torch.cat(drawn), rng)
        loss = (lifter(uv) - target).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return lifter.eval()


@torch.no_grad()
def errors_mm(lifter: Lifter, test: Clips) -> tuple[ndarray, ndarray]:
    """(clip,) mean error of the joints from their wrist, and of the right wrist from the left, of frames and views."""
    rng = torch.Generator().manual_seed(12345)  # the same cameras for every lifter
    joints, wrists = [], []
    for _ in range(VIEWS):
        uv, target, palm = seen(test.joints_m, rng)
        off = (lifter(uv) - target) * palm[:, None]
        joints.append(1e3 * off[:, :126].unflatten(1, (42, 3)).norm(dim=-1).sum(dim=1) / 40)  # not the wrists
        wrists.append(1e3 * off[:, 126:].norm(dim=-1))
    names = np.unique(test.clip)
    means = [torch.stack(part).mean(dim=0).numpy() for part in (joints, wrists)]
    return tuple(np.array([mean[test.clip == name].mean() for name in names]) for mean in means)  # type: ignore[return-value]


def change(before: ndarray, after: ndarray, draws: int = 2000) -> tuple[float, float, float]:
    """How much an error changes, percent, and a 95 % interval by bootstrap over seeds and over clips.

    Args:
        before, after: (seed, clip) errors with the same seeds and clips.
        draws: of the bootstrap.
    """
    rng = np.random.default_rng(0)
    found = []
    for _ in range(draws):
        seeds, clips = (rng.integers(n, size=n) for n in before.shape)
        rows = np.ix_(seeds, clips)
        found.append(100 * (after[rows].mean() / before[rows].mean() - 1))
    low, high = np.percentile(found, [2.5, 97.5])
    return float(100 * (after.mean() / before.mean() - 1)), float(low), float(high)
