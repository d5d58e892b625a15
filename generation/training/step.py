"""One training step. It depends only on seed, step and previous weights, so resumed trainings are bit-identical."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import cos, pi

import torch
from torch import Tensor, nn

from ..model.canonical_frame import canonical_frame
from ..model.controls import Controls, draw_controls
from ..model.diffusion import FIRST_LOG_SNR, Schedule
from ..model.expectation import LEAST_SQUARE, gaps
from ..model.motion import MIRROR, Motion
from ..model.motion_model import MotionModel
from .losses import JOINT_UNIT_M, Prediction, losses
from .perturbation import least_distance_m, perturbed

X0_STD_FLOOR = 0.3
"""Least standard deviation by which the x0 term is divided where the denoiser has a prior: below it errors no longer
matter, and the prior is not exact."""

EXPECTED_KINDS = {"start": 4.0, "keyframes": 1.0}
"""Controls for training the expected motion, which is where motion is observed beside a gap: after a start alone, the
last frame is observed, too."""

LEAST_EXPECTED_ERROR = 0.02
"""Added to the usual error of a gap, in standard deviations: less is noise of the capture."""

WARM_UP_STEPS = 50
GRADIENT_NORM = 1.0
WEIGHT_DECAY = 0.01


@dataclass(frozen=True)
class Batch:
    """Windows of motion as they were recorded, on the network's device."""

    motion: Motion
    """(batch, frame, hand, ...) in the world of its source."""
    R_home: Tensor
    """(batch, 3, 3) the canonical rotation of a window whose controls do not show an orientation."""
    mirror: Tensor
    """(batch,) bool: to be shown in the mirror."""
    perturb: bool = False
    """Whether to vary them, see perturbation.py."""


def step_seed(seed: int, step: int) -> int:
    """One number for each step of each run."""
    return (seed * 1_000_003 + step) % 2**63


def augmented(batch: Batch) -> tuple[Motion, Tensor]:
    """The windows with some of them mirrored, and their R_home."""
    motion, mirrored = batch.motion, batch.motion.mirrored()

    def choose(a: Tensor, b: Tensor) -> Tensor:
        return torch.where(batch.mirror.reshape(-1, *[1] * (a.ndim - 1)), b, a)

    chosen = Motion(
        choose(motion.wrist_m, mirrored.wrist_m),
        choose(motion.R_world_wrist, mirrored.R_world_wrist),
        choose(motion.R_pose, mirrored.R_pose),
        choose(motion.betas, mirrored.betas),
    )
    sign = batch.R_home.new_tensor(MIRROR)
    return chosen, choose(batch.R_home, batch.R_home * (sign[:, None] * sign))


def canonical_windows(batch: Batch) -> Motion:
    """The windows as they are seen when nothing is observed: in the canonical frame of their first frames."""
    motion, R_home = augmented(batch)
    return motion.moved(*canonical_frame(Controls.none(motion), R_home, fallback=True))


def loss_terms(model: MotionModel, batch: Batch, weights: Mapping[str, float], seed: int) -> dict[str, Tensor]:
    """The terms of one step's loss: draw controls, time and noise, denoise, compare.

    The network knows how lively the whole motion is: when motion is generated, that is drawn first. The terms that look
    at hands and not at numbers count by how much of the motion can be seen through the noise,
    alpha^2: at the start of sampling x0 is a mean of many motions, which need not be a motion.

    Args:
        model: with the network to train.
        batch: the windows.
        weights: of the terms; those of weight 0 are left out. `expected`, that of another network, has none.
        seed: of this step.
    """
    motion, R_home = augmented(batch)
    device = motion.wrist_m.device
    cpu = torch.Generator().manual_seed(seed)
    if batch.perturb:
        motion = perturbed(motion, least_distance_m(model.kinematics.joints(motion)), cpu)
    generator = cpu if device.type == "cpu" else torch.Generator(device).manual_seed(seed)
    count, frames = motion.wrist_m.shape[:2]
    in_world = motion
    has = [part.to(device) for part in draw_controls(None, count, frames, cpu)]
    R, t_m = canonical_frame(Controls(motion, *has), R_home, fallback=True)
    motion = motion.moved(R, t_m)
    joints_m = model.kinematics.joints(motion)
    packed = model.pack(motion, joints_m)
    with torch.no_grad():  # The network of the expected motion has a loss of its own.
        conditioning = model.conditioning(Controls(motion, *has), frames, packed, _level(model, motion, packed))

    t = draw_timesteps(model.schedule, count, generator)
    noise = torch.randn(packed.shape, generator=generator, device=device)
    x0, std = model.predict(model.schedule.add_noise(packed, noise, t), t, conditioning)

    truth = Prediction(packed, motion, joints_m, joints_m)
    x0_weight = group_weights(model).to(packed)
    if std is not None:
        x0_weight = conditioning.mask.logical_not() * x0_weight / std.clamp_min(X0_STD_FLOOR).square()
    alpha = model.schedule.alpha(t)
    certainty = alpha.square() if std is None else certainty_of(model, std)

    def asked(*names: str) -> dict[str, float]:
        return {name: weights.get(name, 0) for name in names}

    terms = losses(Prediction(x0, motion, joints_m, joints_m), truth, asked("x0"), x0_weight=x0_weight)
    if any(weight for name, weight in weights.items() if name != "x0"):
        # Where the motion starts from is not for the denoiser to know in a representation without places.
        seen = model.unpack(x0, motion.betas) if model.representation.absolute else model.placed(x0, motion)
        channel_joints = model.representation.joints(model.statistics.denormalise(x0))
        predicted = Prediction(x0, seen, model.kinematics.joints(seen), channel_joints)
        terms |= losses(predicted, truth, asked("joints", "velocity"), sample_weight=certainty)
        terms |= losses(predicted, truth, asked("bone", "contact", "shape"), sample_weight=alpha.square())
    if model.expectation is not None:
        terms["expected"] = expected_loss(model, in_world, R_home, cpu)
    return terms


def expected_loss(model: MotionModel, motion: Motion, R_home: Tensor, generator: torch.Generator) -> Tensor:
    """Mean distance of the expected motion from motions (batch, frame, hand, ...) where the network may move it, and
    how badly that distance was foretold.

    The distance is that of a group's channels. It is relative to how far the prior may be off in a gap of this length
    at the average liveliness: short gaps count as much as long ones, hands that move much count more. What was foretold
    counts by the likelihood of an exponential distribution, which is greatest at the mean distance.
    """
    count, frames = motion.wrist_m.shape[:2]
    has = [part.to(motion.wrist_m.device) for part in draw_controls(EXPECTED_KINDS, count, frames, generator)]
    for part in has:
        only_start = ~gaps(part[..., None])[-1].any(1, keepdim=True)[..., 0]
        part[:, -1:] |= only_start & part.any(1, keepdim=True)
    controls = Controls(motion, *has)
    controls = controls.moved(*canonical_frame(controls, R_home, fallback=True))
    packed, prior = model.pack(controls.motion), model.prior(frames)
    given = replace(model, expectation=None).conditioning(controls, frames, packed)
    assert given.conditional is not None
    assert given.log_liveliness is not None
    correction, log_scale = model.expected(prior, given.conditional, given.mask, given.log_liveliness)
    seen = gaps(prior.of_groups(given.mask))[-1]
    std = prior.usual_std(given.conditional, given.log_liveliness)
    usual = (std * seen).sum(1, keepdim=True) / seen.sum(1, keepdim=True).clamp_min(1)
    distance = prior.mean_square(given.conditional.base + correction - packed).add(LEAST_SQUARE).sqrt()
    off = distance / (usual + LEAST_EXPECTED_ERROR)
    told = prior.of_groups(given.conditional.std) * log_scale.exp() + LEAST_EXPECTED_ERROR
    surprise = distance.detach() / told + told.log()
    return (seen * (off + surprise)).sum() / seen.sum().clamp_min(1)


def draw_timesteps(schedule: Schedule, count: int, generator: torch.Generator) -> Tensor:
    """(count,) half of them uniform in time, half uniform in log(alpha / sigma) from where sampling starts to 0.

    The cosine schedule has 6 % of its timesteps where most of the noise goes in sampling: a tenth of motion and less.
    There it is decided where the hands are. All frames show that together, so it is seen through far more noise than
    the pose of a finger in one frame.
    """
    device = generator.device
    t = torch.randint(0, schedule.steps, (count,), generator=generator, device=device)
    log_snr = schedule.log_snr(torch.arange(schedule.steps, device=device))
    wanted = FIRST_LOG_SNR * torch.rand(count, generator=generator, device=device)
    noisy = (log_snr - wanted[:, None]).abs().argmin(-1)
    return torch.where(torch.arange(count, device=device) % 2 == 0, t, noisy)


def _level(model: MotionModel, motion: Motion, packed: Tensor) -> Tensor | None:
    """(batch, hand, group) level of the liveliness of motions, of which everything is known."""
    if not model.uses_prior:
        return None
    prior = model.prior(packed.shape[1])
    return prior.nearest(model.belief(Controls.all(motion), prior.liveliness.after(None, 0), packed))


def group_weights(model: MotionModel) -> Tensor:
    """(channel,) such that each group of channels counts the same: three numbers of the wrist as much as 90 of pose."""
    groups = model.representation.groups
    sizes = torch.tensor([group.stop - group.start for group in groups])
    return (model.representation.channels / (len(groups) * sizes)).repeat_interleave(sizes)


def certainty_of(model: MotionModel, std: Tensor) -> Tensor:
    """(batch,) from 0 to 1: how well the prior knows where the wrists are, 1/2 at an error of a centimetre."""
    group = model.representation.groups[0]
    std_m = (std * model.statistics.std)[..., group.start : group.start + 3]
    return 1 / (1 + std_m.square().sum(dim=-1).mean(dim=(1, 2)) / JOINT_UNIT_M**2)


def learning_rate(step: int, steps: int, highest: float) -> float:
    """Linear warm-up, then half a cosine down to a hundredth."""
    if step < WARM_UP_STEPS:
        return highest * (step + 1) / WARM_UP_STEPS
    share = (step - WARM_UP_STEPS) / max(steps - WARM_UP_STEPS, 1)
    return highest * (0.01 + 0.99 * 0.5 * (1 + cos(pi * min(share, 1.0))))


def ema_decay(step: int, highest: float) -> float:
    """Decay of the averaged weights: shorter at the beginning, so that initial weights have no effect."""
    return min(highest, (1 + step) / (10 + step))


@dataclass(frozen=True)
class TrainingState:
    """The state that the next step depends on, in addition to data and settings."""

    networks: nn.ModuleDict
    """By name: `denoiser` and, where there is one, `expectation`."""
    optimizer: torch.optim.AdamW
    ema: dict[str, Tensor]
    """Averaged weights by parameter."""

    @classmethod
    def start(cls, networks: nn.ModuleDict, highest_rate: float) -> TrainingState:
        optimizer = torch.optim.AdamW(
            networks.parameters(), lr=highest_rate, betas=(0.9, 0.99), weight_decay=WEIGHT_DECAY, fused=True
        )
        ema = {name: value.detach().clone() for name, value in networks.named_parameters()}
        return cls(networks, optimizer, ema)

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by name, for a file; the averaged weights apart from the trained ones."""
        found = {f"network.{name}": value.detach() for name, value in self.networks.named_parameters()}
        found |= {f"ema.{name}": value for name, value in self.ema.items()}
        for name, value in self.networks.named_parameters():
            for key, moment in self.optimizer.state[value].items():
                found[f"optimizer.{key}.{name}"] = moment
        return found

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put them back. Raises KeyError for one that is missing."""
        with torch.no_grad():
            for name, value in self.networks.named_parameters():
                value.copy_(tensors[f"network.{name}"])
                self.ema[name].copy_(tensors[f"ema.{name}"])
                self.optimizer.state[value] = {
                    key: tensors[f"optimizer.{key}.{name}"].to(value.device if key != "step" else "cpu").clone()
                    for key in ("step", "exp_avg", "exp_avg_sq")
                }

    def average(self, decay: float) -> None:
        """Let the averaged weights follow."""
        for name, value in self.networks.named_parameters():
            self.ema[name].lerp_(value.detach(), 1 - decay)


def train_step(
    model: MotionModel,
    state: TrainingState,
    batch: Batch,
    weights: Mapping[str, float],
    seed: int,
    backward: Callable[[Tensor], None] = Tensor.backward,
) -> dict[str, Tensor]:
    """One step of the optimizer, at the learning rate that is set. Returns the terms of the loss before it."""
    terms = loss_terms(model, batch, weights, seed)
    state.optimizer.zero_grad(set_to_none=True)
    backward(torch.stack([weights.get(name, 1.0) * term for name, term in terms.items()]).sum())
    clip_gradients(state.networks)
    state.optimizer.step()
    return terms


def clip_gradients(networks: nn.ModuleDict) -> None:
    """Each network by itself: their losses have nothing in common."""
    for network in networks.values():
        nn.utils.clip_grad_norm_(network.parameters(), GRADIENT_NORM)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def mean_of(terms: Sequence[Mapping[str, Tensor]]) -> dict[str, float]:
    """The mean of each term over some steps."""
    return {name: float(torch.stack([each[name].detach() for each in terms]).mean()) for name in terms[0]}
