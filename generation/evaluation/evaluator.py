"""The evaluator: a small autoencoder of two-hand motion whose codes are the features of FID, KID and diversity.

There is no public feature extractor for two-hand motion, so one is trained on real motion with a fixed seed. Figures
are comparable only with the same evaluator, identified by `Evaluator.digest`. Its inputs are joint positions, not a
representation, so it favours none of the evaluated models.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..model.canonical_frame import nearest_rotation
from ..model.motion import MIRROR
from ..model.precision import in_bfloat16

LATENT = 64
"""Size of a code. The bias of the Frechet distance grows with its square; a small code needs few samples."""
WIDTH = 256
PATCH_FRAMES = 4
"""Frames that become one token."""
NOISE_M = 0.02
"""Strongest noise in training. An encoder trained on clean motion only would not measure how poor other motion is."""
ROUGHNESS_FLOOR_M = 1e-4
"""Roughness below this is rounding of the recording; smaller values are treated as equal."""
SCALE_WINDOWS = 1000
"""About as many windows say how large each channel is."""

GROUPS = (126, 126, 2)
"""Channels: the places of two hands' 21 joints, their steps, two roughnesses."""
WEIGHTS = (1.0, 1.0, 0.2)
"""Weights of the groups in the loss."""

WRIST, INDEX, MIDDLE, PINKY = 0, 5, 9, 17


def two_hand_frame(joints_m: Tensor) -> tuple[Tensor, Tensor]:
    """The two-hand frame as seen by the person: x to the right, y along the fingers, z out of the backs of the hands.

    Its origin is midway between the wrists. Its axes are the rotation nearest to the sum of both hands' anatomical axes
    and the direction from the left wrist to the right, so that no single degenerate pose turns it over.

    Args:
        joints_m: (..., hand, 21, 3).

    Returns:
        R (..., 3, 3) and t_m (..., 3): x_frame = R x + t.
    """
    wrist = joints_m[..., WRIST, :]
    fingers = nn.functional.normalize(joints_m[..., MIDDLE, :] - wrist, dim=-1)
    # With the palm down, a right hand's pinky is on its right, a left hand's index.
    sign = joints_m.new_tensor([-1.0, 1.0])[:, None]
    lateral = sign * (joints_m[..., PINKY, :] - joints_m[..., INDEX, :])
    lateral = lateral - (lateral * fingers).sum(-1, keepdim=True) * fingers
    lateral = nn.functional.normalize(lateral, dim=-1)
    axes = torch.stack([lateral, fingers, torch.linalg.cross(lateral, fingers)], dim=-1).sum(-3)
    apart = nn.functional.normalize(wrist[..., 1, :] - wrist[..., 0, :], dim=-1)
    axes = axes + torch.stack([apart, torch.zeros_like(apart), torch.zeros_like(apart)], dim=-1)
    R = nearest_rotation(axes).mT
    return R, -(R @ wrist.mean(-2)[..., None])[..., 0]


def _canonical(joints_m: Tensor) -> Tensor:
    """The window seen in the two-hand frame of its first frame; (..., frame, hand, 21, 3)."""
    R, t_m = two_hand_frame(joints_m[..., 0, :, :, :])
    return torch.einsum("...ij,...fhkj->...fhki", R, joints_m) + t_m[..., None, None, None, :]


def _channels(canonical_m: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The quantities that a code represents, each (..., frame, channel): joint positions (wrists, and other joints
    relative to their wrist), their differences from frame to frame, and each hand's roughness, the logarithm of the
    second differences of its joints.

    Without the roughness, codes would not contain jitter, which is visible but small compared with the motion.
    """
    wrist = canonical_m[..., :1, :]
    place = torch.cat([wrist, canonical_m[..., 1:, :] - wrist], dim=-2)
    step = place.diff(dim=-4, prepend=place[..., :1, :, :, :])
    bend_m = canonical_m.diff(n=2, dim=-4).square().sum(-1).mean(-1).sqrt()
    rough = (bend_m + ROUGHNESS_FLOOR_M).log()
    rough = torch.cat([rough[..., :1, :], rough, rough[..., -1:, :]], dim=-2)
    return place.flatten(-3), step.flatten(-3), rough


class Mixer(nn.Module):
    """Tokens exchange over time, then channels within each token (Tolstikhin et al. 2021)."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)])
        self.over_time = nn.Sequential(nn.Linear(tokens, 4 * tokens), nn.GELU(), nn.Linear(4 * tokens, tokens))
        self.over_channels = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.over_time(self.norms[0](x).mT).mT
        return x + self.over_channels(self.norms[1](x))


class MotionAutoencoder(nn.Module):
    """One code per window, and back."""

    mean: Tensor
    std: Tensor
    code_mean: Tensor
    code_std: Tensor

    def __init__(self, frames: int) -> None:
        super().__init__()
        self.frames, tokens = frames, math.ceil(frames / PATCH_FRAMES)
        self.padding = tokens * PATCH_FRAMES - frames
        self.register_buffer("mean", torch.zeros(sum(GROUPS)))
        self.register_buffer("std", torch.ones(sum(GROUPS)))
        self.register_buffer("code_mean", torch.zeros(LATENT))
        self.register_buffer("code_std", torch.ones(LATENT))
        self.encoder = nn.Sequential(
            *(nn.Unflatten(1, (tokens, PATCH_FRAMES)), nn.Flatten(2), nn.Linear(PATCH_FRAMES * sum(GROUPS), WIDTH)),
            *(Mixer(tokens), Mixer(tokens)),
            *(nn.Flatten(), nn.Linear(tokens * WIDTH, LATENT)),
        )
        self.decoder = nn.Sequential(
            *(nn.Linear(LATENT, tokens * WIDTH), nn.Unflatten(1, (tokens, WIDTH))),
            *(Mixer(tokens), Mixer(tokens), nn.LayerNorm(WIDTH)),
            *(nn.Linear(WIDTH, PATCH_FRAMES * sum(GROUPS)), nn.Unflatten(2, (PATCH_FRAMES, -1)), nn.Flatten(1, 2)),
        )

    def normalise(self, canonical_m: Tensor) -> Tensor:
        """(sample, padded frame, channel) of canonical windows; the last frame is repeated to fill the last patch."""
        x = (torch.cat(_channels(canonical_m), dim=-1) - self.mean) / self.std
        return torch.cat([x, x[:, -1:].expand(-1, self.padding, -1)], dim=1)

    def loss(self, x: Tensor, wanted: Tensor) -> Tensor:
        """Mean squared error of what the code of x says, group by group."""
        error = self.decoder(self.encoder(x)).float() - wanted
        parts = [group.square().mean() for group in error.split(GROUPS, dim=-1)]
        return torch.stack([weight * part for weight, part in zip(WEIGHTS, parts, strict=True)]).sum()


@dataclass(frozen=True, eq=False)
class Evaluator:
    """A trained autoencoder's encoder; its features have mean 0 and variance 1 on the data it was trained on."""

    model: MotionAutoencoder

    @classmethod
    def of_state(cls, state: Mapping[str, Tensor]) -> Evaluator:
        """The evaluator that `state` came from."""
        model = MotionAutoencoder(int(state["frames"]))
        model.load_state_dict({name: value for name, value in state.items() if name != "frames"})
        return cls(model.eval())

    @property
    def state(self) -> dict[str, Tensor]:
        """Its state, for saving."""
        return {**self.model.state_dict(), "frames": torch.tensor(self.model.frames)}

    @property
    def digest(self) -> str:
        """Twelve digits that identify it in reports."""
        sha = hashlib.sha256()
        for name, value in sorted(self.state.items()):
            sha.update(name.encode())
            sha.update(value.cpu().numpy().tobytes())
        return sha.hexdigest()[:12]

    @torch.no_grad()
    def features(self, joints_m: Tensor, batch: int = 256) -> Tensor:
        """(sample, LATENT) codes of windows.

        Args:
            joints_m: (sample, frame, hand, 21, 3) metres, anywhere in the world; as many frames as in training.
            batch: windows to encode at once.
        """
        assert joints_m.shape[1] == self.model.frames, (joints_m.shape, self.model.frames)
        model = self.model
        codes = [model.encoder(model.normalise(_canonical(part))) for part in joints_m.float().split(batch)]
        return (torch.cat(codes) - model.code_mean) / model.code_std


def train_evaluator(
    joints_m: Tensor, seed: int = 0, steps: int = 500, batch: int = 64, on_step: Callable[[], None] | None = None
) -> Evaluator:
    """Train on windows of the training split; the same windows and seed make the same evaluator on the same machine.

    Half of the windows of a batch are mirrored (left and right hands change places), for twice the data.

    Args:
        joints_m: (window, frame, hand, 21, 3) metres, anywhere in the world; its device is where training happens.
        seed: of initial weights and batches.
        steps: of Adam.
        batch: windows of a step.
        on_step: called after each.
    """
    generator = torch.Generator().manual_seed(seed)
    windows = _canonical(joints_m.float())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = MotionAutoencoder(windows.shape[1]).to(windows.device)
    mean, std = _scales(windows[:: max(1, len(windows) // SCALE_WINDOWS)])
    model.mean.copy_(mean)
    model.std.copy_(std)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-4, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, steps, pct_start=0.1)
    bfloat16 = in_bfloat16("auto", windows.device)
    for _ in range(steps):
        chosen = windows[torch.randint(len(windows), (batch,), generator=generator).to(windows.device)]
        chosen = torch.cat([chosen[: batch // 2], mirrored(chosen[batch // 2 :])])
        noise_m = NOISE_M * torch.rand(batch, generator=generator) * (torch.arange(batch) % 4 == 0)
        noise = noise_m[:, None, None, None, None] * torch.randn(chosen.shape, generator=generator)
        clean, x = model.normalise(chosen), model.normalise(chosen + noise.to(windows.device))
        # For a noisy window, the targets are the clean motion and the roughness of the noisy one.
        wanted = torch.cat([clean[..., : -GROUPS[-1]], x[..., -GROUPS[-1] :]], dim=-1)
        with torch.autocast(windows.device.type, torch.bfloat16, enabled=bfloat16):
            loss = model.loss(x, wanted)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        if on_step is not None:
            on_step()
    model.eval()
    codes = Evaluator(model).features(joints_m)
    model.code_mean.copy_(codes.mean(0))
    model.code_std.copy_(codes.std(0).clamp(min=1e-6))
    return Evaluator(model)


def mirrored(joints_m: Tensor) -> Tensor:
    """In the mirror x -> -x: left and right hand change places; (..., hand, 21, 3)."""
    return joints_m.flip(-3) * joints_m.new_tensor(MIRROR)


def _scales(windows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (channel,) over the windows and their mirror images.

    Wrists have one scale, fingers another, and so have the steps of each: within such a set a millimetre weighs the
    same in every joint and direction.
    """
    groups = [_channels(part) for part in (windows, mirrored(windows))]
    both = [torch.cat(group).flatten(0, -2) for group in zip(*groups, strict=True)]
    mean, variance = torch.cat([g.mean(0) for g in both]), [g.var(0) for g in both]
    for spread in variance[:2]:
        by_joint = spread.view(2, 21, 3)
        for joints in (slice(0, 1), slice(1, None)):
            by_joint[:, joints] = by_joint[:, joints].mean()
    return mean, torch.cat(variance).sqrt().clamp(min=1e-6)
