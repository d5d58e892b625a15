"""Forearms: they go on where the hand ends, and nothing of them is drawn that a camera cannot see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from handpipe.core.cameras import Cameras
from handpipe.core.hands import HANDS
from handpipe.hand.model import HandModel
from handpipe.rendering.arm import AROUND, RINGS_M, arm_at_rest, arm_skin
from handpipe.rendering.augment_pictures import _primitive, take_picture
from handpipe.rendering.render import STUDIO, LitHands, draw_alone
from handpipe.rendering.rig import look_at
from handpipe.rendering.scenes import Arm, Film, draw_scene
from handpipe.rendering.skin import SKIN_BGR

STRAIGHT = Arm(np.zeros(2), np.inf, 0.004, np.full(3, 0.5))
ZERO = np.zeros(3)


def at_rest(
    side: str, arm: Arm = STRAIGHT, betas: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices of the hand and of the arm, and the wrist."""
    model, betas = HandModel.procedural("left" if side == "left" else "right"), np.zeros(10) if betas is None else betas
    joints, v = (part(betas, ZERO, np.zeros(45), ZERO) for part in (model.joints, model.vertices))
    return v, arm_at_rest(v, joints[0], joints[9], arm), joints[0]


@pytest.mark.parametrize("side", HANDS)
def test_arm_is_a_closed_tube_turned_outward(side):
    """Of its volume by the divergence theorem, against that of its rings; the end in the hand is closed here."""
    _, arm, _ = at_rest(side)
    faces = arm_skin(arm, STRAIGHT, SKIN_BGR).faces
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    directed = {tuple(edge) for edge in edges.tolist()}
    assert len(directed) == len(edges), "an edge is turned the same way by two faces"
    open_edges = {edge for edge in directed if edge[::-1] not in directed}
    assert len(open_edges) == AROUND
    assert all(max(edge) < AROUND for edge in open_edges), "only the ring in the hand is open"
    corner = arm[faces] - arm[:AROUND].mean(axis=0)
    volume = np.einsum("fi,fi->f", corner[:, 0], np.cross(corner[:, 1], corner[:, 2])).sum() / 6
    assert 0.0008 < volume < 0.0025, "litres of a forearm of 40 cm, and not less than nothing"


@pytest.mark.parametrize("side", HANDS)
@pytest.mark.parametrize("size", [-2.0, 0.0, 2.0])
def test_arm_goes_on_where_the_hand_ends(side, size):
    v, arm, wrist = at_rest(side, betas=np.array([size, *np.zeros(9)]))
    away = 1.0 if side == "right" else -1.0  # the right hand's fingers lie along -x
    end = (away * v[:, 0]).max()
    rings = arm[:-1].reshape(-1, AROUND, 3)
    begin = away * rings[0, :, 0]  # square to the line from the knuckle, which is not quite x
    np.testing.assert_allclose(begin, end + RINGS_M[0], atol=0.004)
    rim = v[away * v[:, 0] > end - 1e-6]
    low, high = rim[:, 1:].min(axis=0), rim[:, 1:].max(axis=0)
    np.testing.assert_allclose(rings[2][:, 1:].min(axis=0), low, atol=0.0015)
    np.testing.assert_allclose(rings[2][:, 1:].max(axis=0), high, atol=0.0015)
    under = (rings[:2, :, 1:] > low) & (rings[:2, :, 1:] < high)
    assert under.all(), "of the skin"
    reach = np.linalg.norm(arm[-1] - wrist)
    assert 0.40 < reach < 0.50


def test_left_arm_is_the_mirrored_right_one():
    bent = replace(STRAIGHT, bend_rad=np.array([0.4, -0.2]))
    left, right = at_rest("left", bent)[1], at_rest("right", bent)[1]
    mirrored = (right * [-1, 1, 1])[:-1].reshape(-1, AROUND, 3)
    nearest = np.linalg.norm(left[:-1].reshape(-1, AROUND, 1, 3) - mirrored[:, None], axis=-1).min(axis=2)
    assert nearest.max() < 1e-6


@pytest.mark.parametrize("side", HANDS)
def test_wrist_bends_toward_the_palm_and_the_thumb(side):
    """At rest the palm looks along -y and the thumb lies toward +z: there the elbow is when the wrist is so bent."""
    straight = at_rest(side)[1][-1]
    palm = at_rest(side, replace(STRAIGHT, bend_rad=np.array([0.5, 0.0])))[1][-1] - straight
    thumb = at_rest(side, replace(STRAIGHT, bend_rad=np.array([0.0, 0.25])))[1][-1] - straight
    assert palm[1] == pytest.approx(-0.4 * np.sin(0.5), abs=0.03)
    assert thumb[2] == pytest.approx(0.4 * np.sin(0.25), abs=0.03)


def test_sleeve_is_of_its_own_colour_and_stands_off():
    clothed = replace(STRAIGHT, sleeve_m=0.1, sleeve_bgr=np.array([0.9, 0.1, 0.2]))
    bare, dressed = at_rest("right")[1], at_rest("right", clothed)[1]
    skin = arm_skin(dressed, clothed, SKIN_BGR)
    along = dressed[:, 0] - dressed[:AROUND, 0].mean() + RINGS_M[0]
    cloth = np.all(skin.albedo == clothed.sleeve_bgr.astype(np.float32), axis=1)
    assert cloth[along > 0.102].all()
    assert not cloth[along < 0.098].any()
    assert (skin.gloss[cloth] == 0).all()
    np.testing.assert_allclose(skin.albedo[~cloth].max(axis=0), SKIN_BGR, atol=1e-6)
    height = [np.ptp(v[along > 0.102][:, 1]) for v in (bare, dressed)]
    np.testing.assert_allclose(np.subtract(*height[::-1]), 2 * clothed.loose_m, atol=1e-4)


def test_arms_of_scenes_are_of_people():
    arms = [draw_scene(np.random.default_rng(seed), 0.3, 0.5, 0.7).arm for seed in range(300)]
    bends = np.rad2deg([arm.bend_rad for arm in arms])
    assert (np.abs(bends) <= [40, 15]).all()
    assert bends[:, 0].std() > 10
    assert 0.55 < np.mean([arm.sleeve_m < 0.16 for arm in arms]) < 0.75


# ---- what a camera cannot see ------------------------------------------------------------------------------------


def camera(k1: float = 0.0) -> Cameras:
    K = np.array([[[100.0, 0, 63.5], [0, 100.0, 63.5], [0, 0, 1.0]]])
    lens = np.array([[k1, 0.0, 0.0, 0.0, 0.0]])
    return Cameras(("v0",), K, lens, look_at(np.array([0, -1.0, 0]), ZERO)[None], np.array([[128, 128]]))


def balls(*middles: Sequence[float] | np.ndarray) -> LitHands:
    v, n, faces = _primitive("ball")
    vertices = np.concatenate([0.1 * v + middle for middle in middles]).astype(np.float32)
    normals = np.tile(n, (len(middles), 1)).astype(np.float32)
    joined = np.concatenate([faces + len(v) * i for i in range(len(middles))]).astype(np.int32)
    white = np.ones_like(vertices)
    return LitHands(vertices, normals, joined, white, 0 * white[:, 0], STUDIO)


@pytest.mark.parametrize(
    ("k1", "unseen"),
    [(0.0, (0.05, -1.6, 0.02)), (-0.25, (3.0, 0.1, 0.0))],
    ids=["behind the camera", "folded back by the lens"],
)
def test_what_is_out_of_sight_changes_nothing(k1, unseen):
    view = camera(k1)
    (window, color, depth), (other, color_with, depth_with) = (
        draw_alone(view, balls(*middles)) for middles in ([ZERO], [ZERO, unseen])
    )
    assert window == other
    assert (depth < 4).any()
    np.testing.assert_array_equal(depth, depth_with)
    np.testing.assert_array_equal(color, color_with)


def test_out_of_sight_altogether_is_an_empty_picture():
    background = np.full((128, 128, 3), 0.42, np.float32)
    picture = take_picture(camera(), [(4, balls((0.0, -1.6, 0.0)))], background, Film(0.5, 0.0, 90), 0)
    assert not picture.mask.any()
    assert np.isnan(picture.box).all()
