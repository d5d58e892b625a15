"""Topology of the procedural hand's mesh with 778 vertices: a watertight box model of genus 0.

The palm is a stack of rings of 20 vertices. Its far face is a 9 x 3 grid in which each finger takes 2 x 2 quads and
goes on as an 8-sided tube; the thumb grows from a 2 x 2 patch on the radial side; the wrist is closed by a 9 x 3 grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy import ndarray

NUM_VERTICES = 778
PALM_RINGS, RING, FINGER_RINGS, THUMB_RINGS = 11, 20, 14, 12
THUMB_PATCH = 4
"""First of the three palm rings whose radial side carries the thumb."""
REMOVED = (THUMB_PATCH + 1) * RING + 19
"""The centre of the thumb's patch: a palm vertex, counted ring by ring, that does not exist."""


@dataclass(frozen=True)
class Topology:
    """The mesh topology, in construction order."""

    faces: ndarray
    """(face, 3)"""
    part: ndarray
    """(vertex,) -1 palm, 0 to 4 the finger."""
    ring: ndarray
    """(vertex,) ring along the palm or the finger; a fingertip counts one more than the last ring."""
    boundary: ndarray
    """(finger, 8) loop of palm vertices each finger grows from, clockwise seen from outside; the last is dorsal."""
    first: ndarray
    """(finger,) first vertex of each finger's tube."""
    cap: slice
    """The seven vertices inside the wrist's cut."""
    web: slice
    """The three vertices between neighbouring fingers."""
    adjacency: ndarray
    """(vertex, vertex) rows sum to one: the mean of the neighbours."""

    @property
    def ends(self) -> ndarray:
        """(finger,) the vertex that closes each tube."""
        rings = np.array([THUMB_RINGS] + [FINGER_RINGS] * 4)
        return self.first + 8 * rings

    @property
    def tips(self) -> ndarray:
        """(finger,) the fingertips: the thumb's end, the others' free edge of the nail; where detectors see them."""
        return self.ends - [0, 1, 1, 1, 1]


def _grid(ring_start: int, inner: list[int]) -> ndarray:
    """(9, 3) vertices of a face of the box: columns radial to ulnar; rows dorsal, middle, palmar.

    A ring runs dorsal column 0 to 8, ulnar side, palmar column 8 to 0, radial side.
    """
    r = ring_start
    middle = [r + 19, *inner, r + 9]
    return np.array([[r + c, middle[c], r + 18 - c] for c in range(9)])


@cache
def topology() -> Topology:
    cap = list(range(PALM_RINGS * RING, PALM_RINGS * RING + 7))
    web = list(range(cap[-1] + 1, cap[-1] + 4))
    quads: list[tuple[int, int, int, int]] = []
    for i in range(PALM_RINGS - 1):
        for k in range(RING):
            quad = (i * RING + k, i * RING + (k + 1) % RING, (i + 1) * RING + (k + 1) % RING, (i + 1) * RING + k)
            if REMOVED not in quad:
                quads.append(quad)
    wrist = _grid(0, cap)
    for c in range(8):
        for r in range(2):
            quads.append((wrist[c, r], wrist[c, r + 1], wrist[c + 1, r + 1], wrist[c + 1, r]))
    # Odd inner columns are the centres of the fingers' patches and do not exist.
    distal = _grid((PALM_RINGS - 1) * RING, [-1, web[0], -1, web[1], -1, web[2], -1])
    thumb = np.array([[(THUMB_PATCH + i) * RING + k for k in (0, 19, 18)] for i in range(3)])
    patches = [thumb] + [distal[2 * f : 2 * f + 3] for f in range(4)]

    def loop(g: ndarray) -> list[int]:
        return [g[0, 0], g[0, 1], g[0, 2], g[1, 2], g[2, 2], g[2, 1], g[2, 0], g[1, 0]]

    boundary = [loop(patch) for patch in patches]
    part = [-1] * (web[-1] + 1)
    ring = [i // RING for i in range(PALM_RINGS * RING)] + [0] * 7 + [PALM_RINGS - 1] * 3
    triangles: list[tuple[int, int, int]] = []
    first = []
    for f in range(5):
        rings = THUMB_RINGS if f == 0 else FINGER_RINGS
        first.append(len(part))
        previous = boundary[f]
        for k in range(rings):
            current = list(range(first[f] + 8 * k, first[f] + 8 * k + 8))
            quads += [(previous[j], current[j], current[(j + 1) % 8], previous[(j + 1) % 8]) for j in range(8)]
            previous = current
        tip = first[f] + 8 * rings
        triangles += [(previous[j], tip, previous[(j + 1) % 8]) for j in range(8)]
        part += [f] * (8 * rings + 1)
        ring += [k // 8 for k in range(8 * rings + 1)]
    # The one palm vertex that does not exist is taken out; what follows moves up by one.
    faces = np.array([t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))] + triangles)
    drop = lambda v: v - (np.asarray(v) > REMOVED)  # noqa: E731
    faces, n = drop(faces), len(part) - 1
    adjacency = np.zeros((n, n))
    adjacency[faces, np.roll(faces, 1, axis=1)] = 1.0
    adjacency = np.maximum(adjacency, adjacency.T)
    adjacency /= adjacency.sum(axis=1, keepdims=True)
    return Topology(
        faces,
        np.delete(part, REMOVED),
        np.delete(ring, REMOVED),
        drop(np.array(boundary)),
        drop(np.array(first)),
        slice(cap[0] - 1, cap[-1]),
        slice(web[0] - 1, web[-1]),
        adjacency,
    )
