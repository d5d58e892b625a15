"""The skin of a hand model: a subdivided mesh with colours for nails, knuckles and creases."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy import ndarray
from scipy import sparse

from ..core.hands import MANO_JOINT, MANO_TIP_VERTEX

SKIN_BGR = np.array([0.57, 0.69, 0.94])


@dataclass(frozen=True)
class HandSkin:
    """A subdivided hand mesh and its colours; made once per hand model."""

    subdivision: sparse.csr_array
    """(fine vertex, vertex): Loop's rule, from the model's vertices to the smooth surface."""
    faces: ndarray
    """(fine face, 3) int32, counter-clockwise seen from outside."""
    vertex_faces: sparse.csr_array
    """(fine vertex, fine face) ones where they touch: sums face normals."""
    albedo: ndarray
    """(fine vertex, 3) BGR, 0 to 1."""
    gloss: ndarray
    """(fine vertex,) strength of the highlight: nails shine."""
    pale: ndarray
    """(fine vertex,) 0 to 1: nails and palm, which hold little pigment in any skin."""

    def toned(self, tone_bgr: ndarray) -> HandSkin:
        """The same skin with another mean colour (3,), BGR from 0 to 1."""
        ratio = tone_bgr / SKIN_BGR
        tone = ratio + 0.6 * self.pale[:, None] * np.clip(0.35 - 0.35 * ratio, 0, None)
        return replace(self, albedo=np.clip(self.albedo * tone, 0, 1).astype(np.float32))


def hand_skin(hand: dict[str, ndarray], side: str, levels: int = 2) -> HandSkin:
    """Subdivide a MANO-like hand and paint it.

    Args:
        hand: `v_template` (V, 3), `f` (F, 3), `J` (16, 3), as `handpipe.hand.procedural.procedural_hand` returns.
        side: "left" or "right".
        levels: Loop subdivisions; each has four times the faces.
    """
    faces = np.asarray(hand["f"], dtype=np.int64)
    count = len(hand["v_template"])
    matrix = sparse.csr_array(sparse.eye_array(count))
    for _ in range(levels):
        step, faces, count = _loop_subdivision(faces, count)
        matrix = sparse.csr_array(step @ matrix)
    rows = faces.ravel()
    columns = np.repeat(np.arange(len(faces)), 3)
    touch = sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=(count, len(faces)))
    rest = matrix @ hand["v_template"]
    albedo, gloss, pale = _paint(
        rest, vertex_normals(rest, faces, touch), hand["v_template"][MANO_TIP_VERTEX], hand["J"], side
    )
    return HandSkin(
        sparse.csr_array(matrix, dtype=np.float32),
        faces.astype(np.int32),
        sparse.csr_array(touch, dtype=np.float32),
        albedo.astype(np.float32),
        gloss.astype(np.float32),
        pale.astype(np.float32),
    )


def _loop_subdivision(faces: ndarray, count: int) -> tuple[sparse.csr_array, ndarray, int]:
    """One step of Loop's scheme (1987, Warren's weights): (new vertex, vertex) matrix, new faces, vertex count."""
    directed = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    edges, edge_of = np.unique(directed, axis=0, return_inverse=True)
    edge_of = edge_of.reshape(-1, 3)
    opposite = faces[:, [2, 0, 1]]
    sides = np.bincount(edge_of.ravel(), minlength=len(edges))
    interior = sides[edge_of.ravel()] == 2
    edge_row = np.arange(len(edges)) + count
    closed = sides == 2
    # New edge points: 3/8 of each end and 1/8 of each opposite corner; the plain middle on an open border.
    end_weight = np.where(closed, 3 / 8, 1 / 2)
    # Old points: a valence-dependent mean with the neighbours; on an open border, of the two border neighbours.
    border = np.zeros(count, bool)
    border[edges[~closed].ravel()] = True
    link = np.concatenate([edges, edges[:, ::-1]])
    along_border = np.concatenate([~closed, ~closed])
    link = link[~border[link[:, 0]] | along_border]
    valence = np.bincount(link[:, 0], minlength=count)
    beta = np.where(border, 1 / 8, np.where(valence == 3, 3 / 16, 3 / (8 * np.maximum(valence, 1))))
    vertex = np.arange(count)
    entries = [
        (edge_row, edges[:, 0], end_weight),
        (edge_row, edges[:, 1], end_weight),
        (edge_row[edge_of.ravel()[interior]], opposite.ravel()[interior], np.full(interior.sum(), 1 / 8)),
        (vertex, vertex, 1 - valence * beta),
        (link[:, 0], link[:, 1], beta[link[:, 0]]),
    ]
    row, column, value = (np.concatenate(part) for part in zip(*entries, strict=True))
    matrix = sparse.csr_array((value, (row, column)), shape=(count + len(edges), count))
    a, b, c = faces.T
    ab, bc, ca = (edge_of + count).T
    new = np.stack([np.stack(t, axis=1) for t in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))], axis=1)
    return matrix, new.reshape(-1, 3), count + len(edges)


def vertex_normals(vertices: ndarray, faces: ndarray, vertex_faces: sparse.csr_array) -> ndarray:
    corner = vertices[faces]
    normal = vertex_faces @ np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    return normal / (np.linalg.norm(normal, axis=1, keepdims=True) + 1e-20)


def _paint(v: ndarray, normal: ndarray, tips: ndarray, joints: ndarray, side: str) -> tuple[ndarray, ndarray, ndarray]:
    """Albedo (n, 3), gloss and paleness (n,) of the hand at rest: nails, knuckles, creases, pinker pads and palm."""
    mirror = np.array([1.0, 1.0, 1.0]) if side == "right" else np.array([-1.0, 1.0, 1.0])
    dorsal_side = normal @ np.array([0.0, 1.0, 0.0])
    pink = 0.55 * np.clip(-dorsal_side, 0.0, 1.0)
    dark, nail = np.zeros(len(v)), np.zeros(len(v))
    root = MANO_JOINT[[1, 5, 9, 13, 17]]
    for f in range(5):
        chain = np.concatenate([joints[root[f] : root[f] + 3], tips[f : f + 1]])
        dorsal = mirror * ([0.15, 0.75, 0.62] if f == 0 else [0.0, 1.0, 0.0])
        for k in range(3):
            bone = chain[k + 1] - chain[k]
            length = np.linalg.norm(bone)
            bone = bone / length
            up = dorsal - (dorsal @ bone) * bone
            up = up / np.linalg.norm(up)
            offset = v - chain[k]
            s, lateral = offset @ bone, offset @ np.cross(bone, up)
            facing = normal @ up
            close = np.exp(-((np.linalg.norm(offset, axis=1) / 0.016) ** 4))
            if k > 0:  # folds over the knuckles and under the joints
                folds = sum(np.exp(-(((s - at) / 0.0011) ** 2)) for at in (-0.003, 0.0, 0.003))
                dark += close * (
                    0.35 * folds * np.clip(facing, 0, 1) + 0.8 * np.exp(-((s / 0.0013) ** 2)) * (facing < 0.2)
                )
                pink += 0.6 * close * np.clip(facing, 0, 1)
            elif f > 0:
                pink += 0.5 * close * np.clip(facing, 0, 1)
                at_web = np.exp(-(((s - 0.45 * length) / 0.0016) ** 2)) * (np.abs(lateral) < 0.010) * (facing < 0)
                dark += 0.7 * at_web * (np.linalg.norm(offset - s[:, None] * bone, axis=1) < 0.016)
            if k == 2:
                on_finger = np.exp(-((np.linalg.norm(offset - 0.6 * length * bone, axis=1) / 0.014) ** 6))
                pink += 0.7 * on_finger * np.clip(s / length, 0, 1)
                oval = ((s / length - 0.70) / 0.30) ** 2 + (lateral / (0.27 * length)) ** 2
                nail = np.maximum(nail, on_finger * (facing > 0.25) * np.clip(2.5 - 2 * oval, 0, 1))
    wave = np.random.default_rng(5).normal(0, 1, (24, 3)) * 220.0
    mottle = np.sin(v * mirror @ wave.T + np.arange(24)).mean(axis=1)
    color = SKIN_BGR * (1 + 0.10 * mottle[:, None])
    color = color * (1 - np.clip(pink, 0, 1.2)[:, None] * np.array([0.14, 0.17, 0.02]))
    color = color * (1 - 0.45 * np.clip(dark, 0, 1)[:, None] * np.array([1.0, 0.95, 0.75]))
    color = color + nail[:, None] * (np.array([0.66, 0.70, 0.92]) - color)
    return np.clip(color, 0, 1), 0.10 + 0.35 * nail, np.maximum(np.clip(-2 * dorsal_side, 0, 1), np.clip(nail, 0, 1))
