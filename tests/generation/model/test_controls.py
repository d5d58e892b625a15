"""What is observed of a motion, and how it is drawn at random."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from random_motion import generator, hidden, some_controls, some_motion

from handpipe.core.errors import ConfigError
from handpipe.core.hands import LEFT
from handpipe.generation.model.controls import KINDS, Controls, draw_controls

# --- drawing -----------------------------------------------------------------------------------------------------


def test_the_same_generator_state_draws_the_same_masks():
    a, b, c = (draw_controls(None, 64, 60, generator(seed)) for seed in (5, 5, 6))
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    assert not all(torch.equal(x, y) for x, y in zip(a, c, strict=True))
    g = generator(5)
    first, second = draw_controls(None, 64, 60, g), draw_controls(None, 64, 60, g)
    assert torch.equal(first[0], a[0])
    assert not torch.equal(first[0], second[0])


def test_the_order_in_which_kinds_are_written_does_not_matter():
    there, back = ({k: KINDS[k] for k in names} for names in (list(KINDS), list(KINDS)[::-1]))
    for a, b in zip(draw_controls(there, 50, 30, generator()), draw_controls(back, 50, 30, generator()), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("frames", [1, 2, 5, 60])
def test_each_kind_observes_what_it_says(kind, frames):
    wrist, orient, pose = draw_controls({kind: 2.0}, 400, frames, generator())
    assert wrist.shape == orient.shape == pose.shape == (400, frames, 2)
    assert wrist.dtype == orient.dtype == pose.dtype == torch.bool
    assert torch.equal(orient, pose)
    assert not (orient & ~wrist).any()  # an orientation comes with its position
    hands = wrist.any(1)
    whole = orient.any(-1)
    per_frame = wrist.any(-1)
    count = per_frame.sum(1)
    if kind in ("none", "one_hand"):
        assert (hands.sum(-1) == (kind == "one_hand")).all()
    else:
        both = hands.all(-1).double().mean()
        assert hands.any(-1).all()
        assert 0.65 < both < 0.85
        # Both hands are observed in the same frames.
        assert ((wrist == per_frame[..., None]) | ~hands[:, None]).all()
    if kind == "ends":
        assert set(per_frame[0].nonzero().flatten().tolist()) == {0, frames - 1}
        assert (per_frame == per_frame[0]).all()
    if kind in ("ends", "keyframes", "start", "one_hand", "none"):
        assert torch.equal(wrist, orient)
    if kind in ("keyframes", "start"):
        assert count.min() == 1
        assert count.max() <= min(21, frames)
    if kind == "keyframes" and frames == 60:
        assert set(count.tolist()) == set(range(1, 21))
        assert (per_frame.sum(0) > 0).all()
    if kind == "start" and frames == 60:
        context = per_frame.long().cumprod(1).sum(1)
        assert 0.3 < (count > context).double().mean() < 0.6
        assert (count - context <= 1).all()
        assert per_frame[:, 0].all()
    if kind in ("path_dense", "path_sparse"):
        assert not whole[:, 1:].any()
        assert 0.4 < whole[:, 0].double().mean() < 0.6
        assert (count == frames).all() if kind == "path_dense" else (count >= min(2, frames)).all()
    if kind == "one_hand":
        assert (count == frames).all()
        assert 0.4 < hands[:, LEFT].double().mean() < 0.6


def test_kinds_are_drawn_as_often_as_they_weigh():
    wrist, orient, _ = draw_controls({"none": 1, "one_hand": 3}, 2000, 4, generator())
    assert Counter(orient.any(1).any(1).tolist())[True] == pytest.approx(1500, abs=80)
    assert torch.equal(wrist, orient)


def test_a_batch_holds_all_kinds():
    wrist, orient, _ = draw_controls(None, 500, 30, generator())
    assert not wrist.any(1).any(1).all()
    assert (wrist.any(-1).all(1) & ~orient.any(-1).all(1)).any()  # a path
    assert (orient.all(1).sum(-1) == 1).any()  # one whole hand


@pytest.mark.parametrize(
    ("kinds", "word"),
    [({"keyframe": 1}, "keyframe"), ({"none": -1, "ends": 2}, "zero or more"), ({}, "positive"), ({"none": 0}, "above"),
     ({"none": float("nan")}, "zero or more")],
)  # fmt: skip
def test_wrong_kinds_are_named(kinds, word):
    with pytest.raises(ConfigError, match=word):
        draw_controls(kinds, 2, 5, generator())


# --- the record --------------------------------------------------------------------------------------------------


def test_none_all_and_any():
    motion = some_motion()
    assert Controls.none(motion).any().tolist() == [False] * 3
    assert Controls.all(motion).any().tolist() == [True] * 3
    only = torch.zeros(3, 12, 2, dtype=torch.bool)
    only[1, 4, 0] = True
    nothing = torch.zeros_like(only)
    for has in ((only, nothing, nothing), (nothing, only, nothing), (nothing, nothing, only)):
        assert Controls(motion, *has).any().tolist() == [False, True, False]


def test_merged_controls_observe_what_either_does_and_the_later_value_wins():
    a, b = some_controls(1, keyframes=1), some_controls(2, keyframes=1)
    both = hidden(a).merged(hidden(b))
    assert torch.equal(both.has_pose, a.has_pose | b.has_pose)
    assert torch.equal(both.motion.wrist_m[b.has_wrist], b.motion.wrist_m[b.has_wrist])
    only_a = a.has_orient & ~b.has_orient
    assert torch.equal(both.motion.R_world_wrist[only_a], a.motion.R_world_wrist[only_a])
    assert torch.equal(both.motion.R_pose[b.has_pose], b.motion.R_pose[b.has_pose])
    assert torch.equal(both.motion.betas, a.motion.betas)
    assert both.motion.wrist_m[~both.has_wrist].isnan().all()


def test_window_and_mirror_take_the_masks_along():
    controls = hidden(some_controls(3))
    part, mirror = controls.window(slice(2, 7)), controls.mirrored()
    for c in (part, mirror):
        assert torch.equal(c.motion.wrist_m.isnan().any(-1), ~c.has_wrist)
        assert torch.equal(c.motion.R_world_wrist.isnan().any(-1).any(-1), ~c.has_orient)
        assert torch.equal(c.motion.R_pose.flatten(-3).isnan().any(-1), ~c.has_pose)
    assert part.has_wrist.shape == (3, 5, 2)
