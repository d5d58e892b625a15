"""The diffusion model in memory: representation, normalization, prior and denoiser combined."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ...core.hands import LEFT
from .canonical_frame import align, canonical_frame
from .controls import Controls
from .denoisers import Conditioning
from .diffusion import Schedule
from .gp_prior import Conditional, Prior
from .interpolation import impose, interpolate
from .kinematics import Kinematics
from .motion import Motion
from .normalization import Statistics
from .representations import Representation


@dataclass(frozen=True)
class MotionModel:
    """A diffusion model of two-hand motion. Motions and controls are in the canonical frame (canonical_frame.py)."""

    denoiser: Callable[..., Tensor]
    """The network: (x_t, t, given, posterior) to x0."""
    uses_prior: bool
    representation: Representation
    statistics: Statistics
    kinematics: Kinematics
    schedule: Schedule
    bfloat16: bool = False
    """Whether the network's products are in bfloat16; all else is in single precision or better."""
    expectation: Callable[..., tuple[Tensor, Tensor]] | None = None
    """The network of the expected motion (expectation.py), in HandDiffuse with a prior."""
    priors: dict[int, Prior] = field(default_factory=dict, repr=False)
    """Kernels by number of frames, made when first asked for."""

    def prior(self, frames: int) -> Prior:
        """The Gaussian-process prior for that many frames."""
        if frames not in self.priors:
            self.priors[frames] = Prior.of(self.statistics, frames)
        return self.priors[frames]

    def pack(self, motion: Motion, joints_m: Tensor | None = None, like: Tensor | None = None) -> Tensor:
        """(..., frame, hand, channel) normalised numbers of a motion, of two equivalent ones those nearer to `like`."""
        joints_m = self.kinematics.joints(motion) if joints_m is None else joints_m
        like = None if like is None else self.statistics.denormalise(like)
        return self.statistics.normalise(self.representation.pack(motion, joints_m, like))

    def unpack(self, x0: Tensor, betas: Tensor) -> Motion:
        """The motion that normalised numbers mean; betas (..., hand, 10)."""
        return self.representation.unpack(self.statistics.denormalise(x0), betas)

    def conditioning(
        self,
        controls: Controls,
        frames: int,
        packed: Tensor | None = None,
        level: Tensor | None = None,
        recorded: Tensor | None = None,
        generated: Tensor | None = None,
    ) -> Conditioning:
        """The conditioning of the denoiser. Its mean is the expected motion: the prior's, moved by the network for it.

        Args:
            controls: over as many frames or more; those beyond `frames` act through the prior alone.
            frames: the window's length.
            packed: the normalised numbers of the controls' motion, where they are known already.
            level: (batch, hand, group) of the liveliness; by default what the controls say.
            recorded: (batch,) whether the controls are of a recording, not generated; see `Prior.condition`.
            generated: (batch,) whether some observed frames were generated. How far motion is from its mean is then the
                prior's: it must not be told from motion that was drawn by it.
        """
        mask, inside = self.representation.observed(controls), slice(frames)
        if packed is None or not self.representation.absolute:
            packed = self._guess(controls)
        values = torch.where(mask, packed, 0.0)
        conditional, log_liveliness = None, None
        if self.uses_prior:
            prior, hint = self.prior(controls.motion.frames), self._hint(controls, packed)
            if level is None:
                level = prior.nearest(_belief(prior, mask, values, hint, prior.liveliness.after(None, 0)))
            conditional = prior.condition(mask, values, hint, level, recorded)
            log_liveliness = prior.liveliness.of_level(level).log().to(values)
            if self.expectation is not None:
                conditional = self._moved(prior, conditional, mask, log_liveliness, generated)
            conditional = conditional.restrict(inside)
        starts = [group.start for group in self.representation.groups]
        mask, values = mask[:, inside], values[:, inside]
        group_mask = mask[..., starts].to(values.dtype)
        return Conditioning(mask, values, group_mask, controls.motion.betas, conditional, log_liveliness)

    def expected(
        self, prior: Prior, conditional: Conditional, mask: Tensor, log_liveliness: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What the network of the expected motion says of a conditioned prior; see `Expectation`."""
        assert self.expectation is not None, "the model has no network of the expected motion"
        std, observed = prior.usual_std(conditional, log_liveliness), prior.of_groups(mask)
        return self.expectation(
            conditional.base, observed, std, prior.spread.to(std), prior.shares.to(std), prior.sizes
        )

    def _moved(
        self,
        prior: Prior,
        conditional: Conditional,
        mask: Tensor,
        log_liveliness: Tensor,
        generated: Tensor | None,
    ) -> Conditional:
        """The prior with the mean and the deviation that the network expects."""
        correction, log_scale = self.expected(prior, conditional, mask, log_liveliness)
        if generated is not None:
            log_scale = torch.where(generated[:, None, None, None], 0.0, log_scale)
        return replace(conditional, base=conditional.base + correction).scaled(log_scale.exp())

    def belief(self, controls: Controls, before: Tensor, packed: Tensor | None = None) -> Tensor:
        """(batch, hand, group, level) how probable each level of liveliness is after controls; see `Prior.belief`."""
        mask = self.representation.observed(controls)
        packed = self._guess(controls) if packed is None else packed
        return _belief(self.prior(controls.motion.frames), mask, packed, self._hint(controls, packed), before)

    def _guess(self, controls: Controls) -> Tensor:
        """The numbers of the simplest motion through the controls. Those that are observed are right, and finite also
        where they are computed from what is not observed, like the joints as seen from an unknown wrist."""
        return self.pack(interpolate(controls))

    def _hint(self, controls: Controls, guess: Tensor) -> Tensor | None:
        """Estimate the position of the motion, for a representation without observable wrist positions."""
        if self.representation.absolute:
            return None
        known = controls.has_wrist.any(dim=1)  # (batch, hand)
        channel = torch.zeros(guess.shape[-1], dtype=torch.bool, device=guess.device)
        for group in self.representation.groups:
            channel[group.start : group.stop] = group.name in ("step", "turn", "other")
        both = known.all(dim=-1)[:, None, None, None]
        return torch.where(both & channel, guess, 0.0)

    def predict(self, x_t: Tensor, t: Tensor, conditioning: Conditioning) -> tuple[Tensor, Tensor | None]:
        """x0 (batch, frame, hand, channel) from x_t at timesteps t (batch,), and how unsure the prior was about it."""
        x_t = torch.where(conditioning.mask, conditioning.values, x_t)
        posterior = None
        if conditioning.conditional is not None:
            posterior = conditioning.conditional.posterior(x_t, self.schedule.alpha(t), self.schedule.sigma(t))
        with torch.autocast(x_t.device.type, torch.bfloat16, enabled=self.bfloat16):
            x0 = self.denoiser(x_t, t, conditioning, posterior)
        return x0, None if posterior is None else posterior[1]

    def placed(self, x0: Tensor, truth: Motion) -> Motion:
        """The motion of x0, which starts nowhere in particular, with the left wrist at frame 0 where it is in truth."""
        motion = self.unpack(x0, truth.betas)
        R = truth.R_world_wrist[:, 0, LEFT] @ motion.R_world_wrist[:, 0, LEFT].mT
        t_m = truth.wrist_m[:, 0, LEFT] - (R @ motion.wrist_m[:, 0, LEFT, :, None])[..., 0]
        return motion.moved(R, t_m)

    def constrained(self, x0: Tensor, controls: Controls) -> Motion:
        """The motion of x0, brought to meet the controls exactly.

        Controls beyond the end of x0 have acted through the prior. Of increments that are summed up it does not know
        where they lead; there the motion is continued as far as the controls go, and brought to meet these too.
        """
        frames = x0.shape[1]
        if self.representation.absolute:
            controls = controls.window(slice(frames))
            motion = self.unpack(x0, controls.motion.betas)
        else:
            motion = self.unpack(self._continued(x0, controls), controls.motion.betas)
            motion = _located(motion, controls, frames)
        kernel = self.prior(motion.frames).kernels.double().mean(dim=0).to(x0)
        return impose(motion, controls, kernel).window(slice(frames))

    def _continued(self, x0: Tensor, controls: Controls) -> Tensor:
        """x0 and what the prior makes of it and of the controls beyond its end, over as many frames as these."""
        frames = controls.motion.frames
        rest = frames - x0.shape[1]
        if rest == 0:
            return x0
        done = (torch.arange(frames, device=x0.device) < x0.shape[1])[:, None, None]
        guess = self._guess(controls)
        values = torch.where(done, torch.nn.functional.pad(x0, (0, 0, 0, 0, 0, rest)), guess)
        mask = self.representation.observed(controls) | done
        return self.prior(frames).condition(mask, values, self._hint(controls, guess)).base

    def with_networks(self, networks: Mapping[str, Callable[..., Any]]) -> MotionModel:
        """A copy of the model with other networks of the same kinds: `denoiser` and, if there is one, `expectation`."""
        return replace(self, denoiser=networks["denoiser"], expectation=networks.get("expectation"))


def _belief(prior: Prior, mask: Tensor, values: Tensor, hint: Tensor | None, before: Tensor) -> Tensor:
    return prior.belief(mask, values if hint is None else values - hint, before)


def _located(motion: Motion, controls: Controls, frames: int) -> Motion:
    """Move a motion with undefined position rigidly to the controls of its first frames, or to later ones if there are
    none; what they leave open is as in the canonical frame."""
    R_home = torch.eye(3, dtype=motion.wrist_m.dtype, device=motion.wrist_m.device)
    motion = motion.moved(*canonical_frame(Controls.none(motion), R_home, fallback=True))
    first = (torch.arange(motion.frames, device=R_home.device) < frames)[:, None]
    says = ((controls.has_wrist | controls.has_orient) & first).any(-1).any(-1)[:, None, None]
    counts = first | ~says
    return align(
        motion,
        Controls(controls.motion, controls.has_wrist & counts, controls.has_orient & counts, controls.has_pose),
    )
