"""Penetration depth, intersection volume and distance of two hand meshes.

manifold3d computes the intersection exactly (a boolean of the two surfaces, not samples), and reports meshes that are
not watertight. trimesh's booleans use manifold3d, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from manifold3d import Error, Manifold, Mesh64
from numpy import ndarray
from scipy.spatial import KDTree

NEAR_M = 0.03
"""Gaps wider than this are not measured."""


@dataclass(frozen=True, eq=False)
class Skin:
    """A hand's triangles, its wrist closed."""

    faces: ndarray
    """(face, 3) counter-clockwise seen from outside; the vertex that closes the wrist, if it was open, is the last."""
    rim: ndarray
    """(n,) vertices around the open wrist; none where it is closed."""

    @classmethod
    def of(cls, faces: ndarray, rest_m: ndarray) -> Skin:
        """Close a mesh with one hole, as MANO's at the wrist, by a fan around the centre of the rim. Meshes with more
        holes are not changed; they have no `Body`.

        Args:
            faces: (face, 3) vertex indices.
            rest_m: (vertex, 3) the mesh in some pose; if it is inside out, the faces are reversed.
        """
        rim = _rim(faces)
        middle = np.full_like(rim, len(rest_m))
        closed = np.concatenate([faces, np.stack([rim, np.roll(rim, -1), middle], axis=-1)]).astype(np.uint64)
        skin = cls(closed, rim)
        a, b, c = np.moveaxis(skin.vertices(rest_m)[closed], 1, 0)
        return skin if np.einsum("fi,fi->", a, np.cross(b, c)) > 0 else cls(np.ascontiguousarray(closed[:, ::-1]), rim)

    def vertices(self, open_m: ndarray) -> ndarray:
        """(..., vertex, 3) with the middle of the rim, if there is one, added to (..., vertex, 3)."""
        if not len(self.rim):
            return open_m
        return np.concatenate([open_m, open_m[..., self.rim, :].mean(axis=-2, keepdims=True)], axis=-2)

    def body(self, open_m: ndarray) -> Body | None:
        """The body enclosed by the skin with vertices (vertex, 3) in metres; None if the mesh is not watertight: holes,
        edges of three faces, inconsistent orientation, or vertices that are not finite."""
        vertices_m = np.ascontiguousarray(self.vertices(open_m), dtype=np.float64)
        if not np.isfinite(vertices_m).all():
            return None
        solid = Manifold(Mesh64(vertices_m, self.faces))
        return Body(vertices_m, self.faces, solid) if solid.status() == Error.NoError else None


@dataclass(frozen=True, eq=False)
class Body:
    """A closed mesh in one pose."""

    vertices_m: ndarray
    faces: ndarray
    solid: Manifold


@dataclass(frozen=True)
class Overlap:
    """Penetration and distance of two bodies."""

    depth_m: float
    """Of the deepest point of either surface inside the other body, from the other's surface; 0 where they are apart.
    Points are the vertices of the shared space: both meshes' vertices, and where their edges meet."""
    volume_m3: float
    """Volume of the intersection."""
    gap_m: float
    """The least distance of their surfaces; 0 where they overlap, infinite beyond `NEAR_M`."""


def overlap(a: Body, b: Body) -> Overlap:
    """Compare two bodies."""
    apart = np.maximum(a.vertices_m.min(0) - b.vertices_m.max(0), b.vertices_m.min(0) - a.vertices_m.max(0)).max()
    if apart > NEAR_M:
        return Overlap(0.0, 0.0, np.inf)
    shared = a.solid ^ b.solid
    if shared.is_empty():
        gap_m = a.solid.min_gap(b.solid, NEAR_M)
        return Overlap(0.0, 0.0, gap_m if gap_m < NEAR_M else np.inf)
    points_m = np.array(shared.to_mesh64().vert_properties)[:, :3]
    depth_m = max(float(surface_distance_m(points_m, body.faces, body.vertices_m).max()) for body in (a, b))
    return Overlap(depth_m, shared.volume(), 0.0)


def surface_distance_m(points_m: ndarray, faces: ndarray, vertices_m: ndarray) -> ndarray:
    """(point,) distance of each of one point or more from a surface."""
    corner = vertices_m[faces]
    middle = corner.mean(axis=1)
    reach = np.sqrt(np.square(corner - middle[:, None]).sum(axis=-1).max())
    # The surface is no farther than its nearest vertex, and the middle of the face that is the nearest is no farther
    # from the point there than `reach`.
    bound = KDTree(vertices_m).query(points_m)[0]
    lists = KDTree(middle).query_ball_point(points_m, bound + reach * (1 + 1e-9))
    many = np.array([len(each) for each in lists])
    point, face = np.repeat(np.arange(len(points_m)), many), np.concatenate(lists).astype(np.int64)
    return np.minimum.reduceat(_triangle_distance_m(points_m[point], corner[face]), np.cumsum(many) - many)


def _triangle_distance_m(points_m: ndarray, corner_m: ndarray) -> ndarray:
    """(pair,) distances of points (pair, 3) from triangles (pair, 3, 3): from the nearest edge, or straight above."""
    tiny = np.finfo(float).tiny
    normal = np.cross(corner_m[:, 1] - corner_m[:, 0], corner_m[:, 2] - corner_m[:, 0])
    square = np.full(len(points_m), np.inf)
    above = np.ones(len(points_m), bool)
    for i in range(3):
        start, along = corner_m[:, i], corner_m[:, (i + 1) % 3] - corner_m[:, i]
        to = points_m - start
        share = (to * along).sum(axis=-1) / np.maximum(np.square(along).sum(axis=-1), tiny)
        square = np.minimum(square, np.square(to - share.clip(0, 1)[:, None] * along).sum(axis=-1))
        above &= (to * np.cross(normal, along)).sum(axis=-1) >= 0
    height = ((points_m - corner_m[:, 0]) * normal).sum(axis=-1)
    return np.sqrt(np.where(above, np.square(height) / np.maximum(np.square(normal).sum(axis=-1), tiny), square))


def _rim(faces: ndarray) -> ndarray:
    """(n,) the vertices around the only hole, in the order in which a fan over it faces outwards; none if there is no
    hole or not exactly one."""
    edges = np.concatenate([faces[:, [i, (i + 1) % 3]] for i in range(3)]).astype(np.int64)
    count = int(edges.max()) + 1
    alone = edges[~np.isin(edges @ [count, 1], edges[:, ::-1] @ [count, 1])]
    after = dict(alone[:, ::-1].tolist())
    walk = [int(alone[0, 1])] if len(alone) else []
    while walk and len(walk) < len(alone) and walk[-1] in after:
        walk.append(after[walk[-1]])
    one = len(walk) == len(alone) == len(after) == len(set(walk)) and (not walk or after[walk[-1]] == walk[0])
    return np.array(walk if one else [], np.int64)
