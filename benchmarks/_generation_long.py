"""Long free motion in benchmarks/generation.py: does it stay as fast and as smooth as real motion, window by window?"""

from __future__ import annotations

import torch
from _generation_subject import RealSets, Subject
from torch import Tensor

from handpipe.generation.model.controls import Controls
from handpipe.generation.sampling.windows import SamplingOptions

HIGH_HZ = 8.0
"""Power above this frequency is compared: motion of hands has next to none there."""


def long(subject: Subject, seed: int) -> dict[str, float]:
    """Mean speed and jerk per window of long motion without controls, of the model and of its prior alone, relative to
    real motion of the training split; `drift` is the largest change from the first window on, in either direction."""
    real = RealSets.load(subject.scene.real).joints_m["learnt"]
    found = {}
    for who, drawn_by in (("model", subject), ("prior", subject.prior_alone())):
        joints_m = _drawn(drawn_by, seed)
        windows = joints_m.split(real.shape[1], 1)
        windows = [part for part in windows if part.shape[1] == real.shape[1]]
        for name, order in (("speed", 1), ("jerk", 3)):
            ratio = torch.stack([_change(part, order) for part in windows]) / _change(real, order)
            found |= {f"{who}/{name}/{number}": float(value) for number, value in enumerate(ratio)}
            found[f"{who}/{name}/mean"] = float(ratio.mean())
            found[f"{who}/{name}/drift"] = float(torch.maximum(ratio / ratio[0], ratio[0] / ratio).max() - 1)
        power = _high_power(torch.cat(windows[1:] or windows), subject.loaded.fps) / _high_power(
            real, subject.loaded.fps
        )
        found[f"{who}/power"] = power
    return found


def _drawn(subject: Subject, seed: int) -> Tensor:
    """(sample, frame, hand, 21, 3)"""
    betas = RealSets.load(subject.scene.real).betas[: subject.scene.long_samples]
    kinematics = subject.loaded.model.kinematics
    rest = betas.new_zeros(len(betas), subject.scene.long_frames, 2, 3)
    motion = kinematics.from_mano(betas, rest, rest.new_zeros(*rest.shape[:-1], 45), rest)
    return subject.joints(subject.draw(Controls.none(motion), SamplingOptions(), seed))


def _change(joints_m: Tensor, order: int) -> Tensor:
    return joints_m.diff(n=order, dim=1).norm(dim=-1).mean()


def _high_power(joints_m: Tensor, fps: float) -> float:
    """Mean power of the joints' velocity above HIGH_HZ, by windows with a Hann taper."""
    velocity = joints_m.flatten(2).diff(dim=1)
    taper = torch.hann_window(velocity.shape[1], periodic=False, device=velocity.device)[:, None]
    power = torch.fft.rfft(velocity * taper, dim=1).abs().square().mean((0, 2))
    frequency = torch.fft.rfftfreq(velocity.shape[1], 1 / fps)
    return float(power[frequency >= HIGH_HZ].mean())
