"""Meshes in each other: spheres by the formula, hands by what must hold, broken ones refused."""

from __future__ import annotations

import numpy as np
import pytest

from handpipe.generation.evaluation.mesh_overlap import Body, Skin, overlap, surface_distance_m
from handpipe.hand.model import HandModel


def sphere(radius_m: float, middle_m: tuple[float, float, float], rings: int = 40) -> Body:
    """A closed globe, with a point in every direction of the axes."""
    lat, lon = np.meshgrid(np.linspace(0, np.pi, rings + 1)[1:-1], 2 * np.pi * np.arange(2 * rings) / (2 * rings))
    globe = np.stack([np.sin(lat) * np.cos(lon), np.sin(lat) * np.sin(lon), np.cos(lat)], -1).reshape(-1, 3)
    vertices = np.concatenate([globe, [[0, 0, 1], [0, 0, -1]]])
    number = np.arange(len(globe)).reshape(2 * rings, rings - 1)
    beside = np.roll(number, -1, axis=0)
    quads = np.stack([number[:, :-1], number[:, 1:], beside[:, 1:], beside[:, :-1]], -1).reshape(-1, 4)
    north, south = len(globe), len(globe) + 1
    caps = [np.stack([np.full(2 * rings, north), number[:, 0], beside[:, 0]], -1)]
    caps.append(np.stack([np.full(2 * rings, south), beside[:, -1], number[:, -1]], -1))
    faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]], *caps])
    body = Skin.of(faces, vertices).body(radius_m * vertices + middle_m)
    assert body is not None
    return body


def lens_m3(R: float, r: float, d: float) -> float:
    """Of two overlapping balls (Weisstein, Sphere-Sphere Intersection)."""
    return np.pi * (R + r - d) ** 2 * (d * d + 2 * d * (r + R) - 3 * (r - R) ** 2) / (12 * d)


@pytest.mark.parametrize("apart_m", [0.012, 0.0145, 0.016])
def test_two_spheres_overlap_by_the_formula(apart_m):
    R, r = 0.010, 0.009
    found = overlap(sphere(R, (0.3, 0.2, 0.1)), sphere(r, (0.3, 0.2, 0.1 + apart_m)))
    assert found.depth_m == pytest.approx(R + r - apart_m, rel=0.02)
    assert found.volume_m3 == pytest.approx(lens_m3(R, r, apart_m), rel=0.02)
    assert found.gap_m == 0


def test_a_sphere_within_another_is_as_deep_as_its_farthest_point():
    found = overlap(sphere(0.02, (0, 0, 0), 16), sphere(0.005, (0, 0, 0.004), 16))
    assert found.depth_m == pytest.approx(0.02 - (0.005 - 0.004), rel=0.01)
    assert found.volume_m3 == pytest.approx(4 / 3 * np.pi * 0.005**3, rel=0.04)


def test_spheres_apart_have_a_gap_and_no_overlap():
    near = overlap(sphere(0.010, (0, 0, 0), 16), sphere(0.009, (0, 0, 0.023), 16))
    assert (near.depth_m, near.volume_m3) == (0, 0)
    assert near.gap_m == pytest.approx(0.004, rel=0.02)
    assert overlap(sphere(0.010, (0, 0, 0), 16), sphere(0.009, (0, 0, 0.1), 16)).gap_m == np.inf


def test_the_distance_from_a_surface_agrees_with_brute_force():
    """Against a million points of the surface; two far, some inside, some beyond edges and corners."""
    rng = np.random.default_rng(0)
    vertices = rng.normal(size=(12, 3))
    faces = rng.permuted(np.tile(np.arange(12), (8, 1)), axis=1)[:, :3]
    points = np.concatenate([rng.normal(size=(30, 3)), [[9.0, 9, 9], [-20.0, 0, 0]]])
    a, b = np.sqrt(rng.random((2, 1, 20000)))
    weights = np.stack([1 - a, a * (1 - b * b), a * b * b], -1)[0]
    surface = np.einsum("nk,fki->nfi", weights, vertices[faces]).reshape(-1, 3)
    naive = [np.linalg.norm(surface - point, axis=1).min() for point in points]
    found = surface_distance_m(points, faces, vertices)
    assert (found <= np.array(naive) + 1e-12).all()
    np.testing.assert_allclose(found, naive, atol=0.02)


# ---- hands ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hand() -> HandModel:
    return HandModel.procedural("right")


def opened(hand: HandModel) -> np.ndarray:
    """Its faces without the wrist's, as MANO's."""
    wrist = np.flatnonzero(hand.v_template[:, 0] > hand.v_template[:, 0].max() - 1e-4)
    return hand.faces[~np.isin(hand.faces, wrist).all(axis=1)]


def volume_m3(body: Body | None) -> float:
    assert body is not None
    return body.solid.volume()


def test_an_open_wrist_is_closed_to_the_same_body(hand):
    """Also with its faces turned over."""
    faces = opened(hand)
    assert 8 <= len(hand.faces) - len(faces) < 60
    whole = volume_m3(Skin.of(hand.faces, hand.v_template).body(hand.v_template))
    assert 2e-4 < whole < 6e-4
    for seen in (faces, faces[:, ::-1]):
        skin = Skin.of(seen, hand.v_template)
        assert len(skin.rim) >= 8
        assert volume_m3(skin.body(hand.v_template)) == pytest.approx(whole, rel=1e-3)


def test_a_hand_in_its_own_place_shares_all_of_itself(hand):
    skin = Skin.of(opened(hand), hand.v_template)
    here, there = skin.body(hand.v_template), skin.body(hand.v_template + [0.0, 0.002, 0.0])
    assert here is not None
    assert there is not None
    found = overlap(here, there)
    assert 0.7 < found.volume_m3 / volume_m3(here) < 1
    assert found.depth_m == pytest.approx(0.002, rel=0.05)
    turned = overlap(there, here)
    assert (turned.depth_m, turned.volume_m3) == pytest.approx((found.depth_m, found.volume_m3), rel=1e-6)


def broken(hand: HandModel, how: str) -> tuple[np.ndarray, np.ndarray]:
    faces, vertices = hand.faces.copy(), hand.v_template.copy()
    if how == "two holes":
        faces = np.delete(opened(hand), 700, axis=0)
    elif how == "a face turned over":
        faces[300] = faces[300, ::-1]
    elif how == "a face twice":
        faces = np.concatenate([faces, faces[300:301]])
    else:
        vertices[5] = np.nan
    return faces, vertices


@pytest.mark.parametrize("how", ["two holes", "a face turned over", "a face twice", "a vertex unknown"])
def test_a_broken_mesh_makes_no_body(hand, how):
    faces, vertices = broken(hand, how)
    assert Skin.of(faces, hand.v_template).body(vertices) is None
