"""A model before any training, which is its prior: what the network hears, what it answers, what motion that means."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from random_motion import hidden
from untrained import BOTH, LONG, WINDOW, assert_alike, assert_meets, clips, drawn, masked, some, untrained

from handpipe.core.hands import LEFT, RIGHT
from handpipe.generation.model.canonical_frame import canonical_frame
from handpipe.generation.model.controls import KINDS, Controls

# diffusers 0.42 asks NumPy for an array in a way that NumPy 2 will stop to serve.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

# ---- what the denoiser is told -----------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_observed_is_not_told(representation, kind):
    """Neither as a value nor as NaN, whatever stands there."""
    model, controls = untrained(representation), drawn(kind)
    told = model.conditioning(controls, 20)
    assert torch.equal(told.mask, model.representation.observed(controls))
    assert told.values.isfinite().all()
    assert (told.values[~told.mask] == 0).all()
    starts = [group.start for group in model.representation.groups]
    assert torch.equal(told.group_mask, told.mask[..., starts].float())
    assert told.conditional is not None
    assert told.conditional.base.isfinite().all()
    assert torch.equal(told.conditional.base[told.mask], told.values[told.mask])


@BOTH
@pytest.mark.parametrize("kind", ["ends", "one_hand", "path_sparse"])
def test_observed_numbers_are_those_of_the_motion(representation, kind):
    model = untrained(representation)
    controls = drawn(kind)
    whole = replace(controls, motion=some(clips(WINDOW), 0, 7, 14).window(slice(20)))
    told = model.conditioning(controls, 20)
    packed = model.pack(whole.motion)
    torch.testing.assert_close(told.values[told.mask], packed[told.mask], atol=1e-4, rtol=1e-4)
    # The same from the packed motion, which training has at hand.
    assert_given_alike(told, model.conditioning(whole, 20, packed))


def assert_given_alike(a, b) -> None:
    assert torch.equal(a.mask, b.mask)
    torch.testing.assert_close(a.values, b.values, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(a.conditional.base, b.conditional.base, atol=1e-3, rtol=1e-3)


@BOTH
def test_a_pose_alone_is_told_whole(representation):
    """The fingers as seen from a wrist that is nowhere: the joints in its frame follow from them."""
    model, motion = untrained(representation), some(clips(WINDOW), 3).window(slice(12))
    has = torch.zeros(1, 12, 2, dtype=torch.bool)
    has[:, 4, RIGHT] = True
    no = torch.zeros_like(has)
    told = model.conditioning(hidden(Controls(motion, no, no, has)), 12)
    names = [group.name for group in model.representation.groups]
    seen = {name for name, one in zip(names, told.group_mask[0, 4, RIGHT], strict=True) if one}
    assert seen == {"pose", "joints"}
    torch.testing.assert_close(told.values[told.mask], model.pack(motion)[told.mask], atol=1e-4, rtol=1e-4)


def test_what_is_beyond_the_window_acts_through_the_prior_alone():
    model = untrained("global")
    motion = some(clips(LONG), 0).window(slice(40))
    near, far = masked(motion, [0]), masked(motion, [0, 22])
    without, told = model.conditioning(near, 20), model.conditioning(far, 20)
    assert told.values.shape[1] == 20
    assert torch.equal(told.values, without.values)
    assert told.conditional is not None
    assert without.conditional is not None
    gap = (model.pack(motion)[:, 19] - told.conditional.base[:, 19]).norm()
    assert gap < 0.5 * (model.pack(motion)[:, 19] - without.conditional.base[:, 19]).norm()


# ---- what it answers ---------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("kind", ["none", "keyframes", "one_hand"])
def test_the_untrained_answer_is_the_priors(representation, kind):
    model = untrained(representation)
    told = model.conditioning(drawn(kind), 20)
    x_t = torch.randn(told.values.shape, generator=torch.Generator().manual_seed(1))
    t = torch.tensor([20, 400, 990])
    assert told.conditional is not None
    seen = torch.where(told.mask, told.values, x_t)
    mean, std = told.conditional.posterior(seen, model.schedule.alpha(t), model.schedule.sigma(t))
    x0, unsure = model.predict(x_t, t, told)
    assert torch.equal(x0, torch.where(told.mask, told.values, mean))
    assert unsure is not None
    assert torch.equal(unsure, std)
    # Noise over what is observed says nothing, not even through the prior.
    other = torch.where(told.mask, torch.full_like(x_t, 1e3), x_t)
    assert torch.equal(model.predict(other, t, told)[0], x0)


def test_a_network_without_prior_is_asked_without_it():
    model = untrained("global", "intergen")
    told = model.conditioning(drawn("keyframes"), 20)
    assert told.conditional is None
    x0, unsure = model.predict(torch.randn(told.values.shape), torch.tensor([1, 2, 3]), told)
    assert unsure is None
    # What is missing at the controls is left to see, and is then spread over the frames around them.
    assert not torch.equal(x0[told.mask], told.values[told.mask])
    controls = drawn("keyframes")
    assert_meets(model.constrained(x0.detach(), controls), controls)


# ---- from numbers to motion --------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("kind", KINDS)
def test_constrained_motion_meets_its_controls(representation, kind):
    model, controls = untrained(representation), drawn(kind, seed=3)
    x0 = 0.5 * torch.randn(3, 20, 2, model.representation.channels, generator=torch.Generator().manual_seed(2))
    assert_meets(model.constrained(x0, controls), controls)


@BOTH
def test_a_motion_that_meets_its_controls_already_is_left_alone(representation):
    model = untrained(representation)
    motion = some(clips(WINDOW), 0, 7).window(slice(20))
    constrained = model.constrained(model.pack(motion), masked(motion, [0, 11]))
    assert_alike(constrained, motion, atol=1e-4)


@BOTH
def test_a_motion_that_is_not_placed_is_where_motions_are_learnt(representation):
    """Without controls the hands are before the person, in either representation."""
    model = untrained(representation)
    motion = some(clips(WINDOW), 0, 7)
    canonical = motion.moved(*canonical_frame(Controls.none(motion), torch.eye(3), fallback=True))
    expected = motion if model.representation.absolute else canonical
    assert_alike(model.constrained(model.pack(motion), Controls.none(motion)), expected, atol=1e-4)


def test_placed_puts_the_left_wrist_where_it_is_in_truth():
    model, truth = untrained("local"), some(clips(WINDOW), 0, 7)
    torch.testing.assert_close(
        model.kinematics.joints(model.placed(model.pack(truth), truth)),
        model.kinematics.joints(truth),
        atol=1e-4,
        rtol=0,
    )
    x0 = torch.randn(2, 60, 2, model.representation.channels, generator=torch.Generator().manual_seed(0))
    placed = model.placed(x0, truth)
    torch.testing.assert_close(placed.wrist_m[:, 0, LEFT], truth.wrist_m[:, 0, LEFT], atol=1e-5, rtol=0)
    torch.testing.assert_close(placed.R_world_wrist[:, 0, LEFT], truth.R_world_wrist[:, 0, LEFT], atol=1e-5, rtol=0)
