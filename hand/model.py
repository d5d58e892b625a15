"""The MANO hand model: its arrays, its identifier, and its forward kinematics in numpy (Romero et al. 2017).

The conventions are smplx's with `flat_hand_mean=True`: `global_orient` rotates the hand about its root joint,
`transl` is added afterwards, `hand_pose` holds fifteen axis-angle vectors in MANO's joint order. Metres, radians.

`HandModel.joints` computes only what 21 joints need: the kinematic chain and five skinned fingertip vertices.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy import ndarray

from ..core.errors import ModelError
from ..core.geometry import rotation_from_axis_angle
from ..core.hands import MANO_JOINT, MANO_TIP_VERTEX, NUM_BETAS, NUM_JOINTS, NUM_MANO_JOINTS, NUM_POSE, TIPS
from .procedural import PARENTS, procedural_hand

if TYPE_CHECKING:
    import smplx

NUM_VERTICES = 778
MANO_PARENTS = PARENTS
"""MANO's tree: the root, then five chains of three."""

_SHAPES = {
    "v_template": (NUM_VERTICES, 3),
    "shapedirs": (NUM_VERTICES, 3, NUM_BETAS),
    "posedirs": (NUM_VERTICES, 3, 135),
    "J_regressor": (NUM_MANO_JOINTS, NUM_VERTICES),
    "weights": (NUM_VERTICES, NUM_MANO_JOINTS),
    "hands_components": (NUM_POSE, NUM_POSE),
    "hands_mean": (NUM_POSE,),
}


@dataclass(frozen=True, eq=False)
class HandModel:
    """One hand of MANO's structure, right or left. All arrays are float64, faces and parents int64."""

    side: Literal["left", "right"]
    v_template: ndarray
    """(778, 3) vertices of the mean hand in the zero pose, metres."""
    faces: ndarray
    """(face, 3) vertex indices."""
    shapedirs: ndarray
    """(778, 3, 10) metres per unit of beta."""
    posedirs: ndarray
    """(778, 3, 135) metres per unit of (R - I) of the fifteen finger joints."""
    J_regressor: ndarray
    """(16, 778) joints from the vertices of the shaped hand."""
    weights: ndarray
    """(778, 16) skinning weights."""
    parents: ndarray
    """(16,) parent of each MANO joint, -1 for the root."""
    hands_components: ndarray
    """(45, 45) principal components of the pose, rows."""
    hands_mean: ndarray
    """(45,) mean pose, radians."""
    model_id: str
    """`procedural-` or `mano-` and the first twelve digits of the SHA-256 of the arrays."""

    @classmethod
    def from_arrays(
        cls,
        side: Literal["left", "right"],
        arrays: Mapping[str, ndarray],
        *,
        kind: Literal["mano", "procedural"] = "mano",
        where: str = "hand model",
    ) -> HandModel:
        """The model in these arrays, named as in a MANO file (`f`, `kintree_table`, `v_template`, ...).

        Raises:
            ModelError: an array is missing, has another shape, is not finite, or the tree is not MANO's.
        """
        missing = sorted({*_SHAPES, "f", "kintree_table"} - set(arrays))
        if missing:
            raise ModelError(
                f"{where}: expected MANO's arrays, but {', '.join(missing)} is missing. "
                "Import the official file with `handpipe import mano MANO_RIGHT.pkl`."
            )
        checked = {name: _floats(arrays[name], shape, f"{where}: {name}") for name, shape in _SHAPES.items()}
        faces = _integers(arrays["f"], f"{where}: f")
        if faces.ndim != 2 or faces.shape[1] != 3 or faces.min() < 0 or faces.max() >= NUM_VERTICES:
            raise ModelError(
                f"{where}: f: expected (face, 3) indices of {NUM_VERTICES} vertices, got shape {faces.shape}. "
                "Import the model again."
            )
        tree = _integers(arrays["kintree_table"], f"{where}: kintree_table")
        if tree.shape != (2, NUM_MANO_JOINTS) or (tree[0, 1:] != MANO_PARENTS[1:]).any():
            raise ModelError(
                f"{where}: kintree_table: expected MANO's tree of 16 joints, got {tree.tolist()}. "
                "Use a MANO hand, not a body model."
            )
        if np.abs(checked["weights"].sum(axis=1) - 1).max() > 1e-3:
            raise ModelError(f"{where}: weights: expected rows with sum one, found others. Import the model again.")
        model_id = f"{kind}-{_digest(checked, faces)}"
        return cls(side=side, faces=faces, parents=MANO_PARENTS.copy(), model_id=model_id, **checked)

    @classmethod
    def procedural(cls, side: Literal["left", "right"]) -> HandModel:
        """The procedural hand, which needs no licensed file."""
        return cls.from_arrays(side, procedural_hand(side), kind="procedural", where="procedural hand")

    @cached_property
    def rest_joints(self) -> ndarray:
        """(16, 3) joints of the mean hand, metres."""
        return self.J_regressor @ self.v_template

    @cached_property
    def rest_joint_dirs(self) -> ndarray:
        """(16, 3, 10) metres per unit of beta."""
        return np.einsum("jv,vik->jik", self.J_regressor, self.shapedirs)

    def joints(self, betas: ndarray, global_orient: ndarray, hand_pose: ndarray, transl: ndarray) -> ndarray:
        """The 21 joints in MediaPipe's order, without computing the mesh.

        Args:
            betas: (..., 10) shape.
            global_orient: (..., 3) axis-angle about the root joint, radians.
            hand_pose: (..., 45) axis-angles in MANO's joint order, radians.
            transl: (..., 3) metres, added last. Leading axes broadcast.

        Returns:
            (..., 21, 3) metres.
        """
        rest = self.rest_joints + np.einsum("jik,...k->...ji", self.rest_joint_dirs, betas)
        R_local = local_rotations(global_orient, hand_pose)
        R_world, centers = forward_kinematics(R_local, rest)
        tips = self._skin(MANO_TIP_VERTEX, betas, R_local, R_world, centers, rest)
        out = np.empty((*tips.shape[:-2], NUM_JOINTS, 3))
        inner = MANO_JOINT >= 0
        out[..., inner, :] = centers[..., MANO_JOINT[inner], :]
        out[..., TIPS, :] = tips
        return out + transl[..., None, :]

    def vertices(self, betas: ndarray, global_orient: ndarray, hand_pose: ndarray, transl: ndarray) -> ndarray:
        """(..., 778, 3) vertices of the posed mesh, metres; arguments as for `joints`."""
        rest = self.rest_joints + np.einsum("jik,...k->...ji", self.rest_joint_dirs, betas)
        R_local = local_rotations(global_orient, hand_pose)
        R_world, centers = forward_kinematics(R_local, rest)
        return self._skin(slice(None), betas, R_local, R_world, centers, rest) + transl[..., None, :]

    def _skin(
        self,
        which: slice | ndarray,
        betas: ndarray,
        R_local: ndarray,
        R_world: ndarray,
        centers: ndarray,
        rest: ndarray,
    ) -> ndarray:
        """(..., n, 3) the chosen vertices by linear blend skinning with pose correctives, without `transl`."""
        feature = (R_local[..., 1:, :, :] - np.eye(3)).reshape(*R_local.shape[:-3], 135)
        v = self.v_template[which] + np.einsum("vik,...k->...vi", self.shapedirs[which], betas)
        v = v + np.einsum("vik,...k->...vi", self.posedirs[which], feature, optimize=True)
        weights = self.weights[which]
        shift = centers - np.einsum("...jab,...jb->...ja", R_world, rest)
        batch = R_world.shape[:-3]
        blended = (weights @ R_world.reshape(*batch, NUM_MANO_JOINTS, 9)).reshape(*batch, len(weights), 3, 3)
        return np.einsum("...vab,...vb->...va", blended, v) + weights @ shift

    def to_smplx(self, batch_size: int = 1) -> smplx.MANO:
        """The same hand as a `smplx.MANO` module (float32, axis-angle pose, `flat_hand_mean=True`)."""
        import smplx
        from smplx.utils import Struct

        arrays: dict[str, Any] = {name: getattr(self, name).copy() for name in _SHAPES}
        tree = np.stack([self.parents, np.arange(NUM_MANO_JOINTS)])
        struct = Struct(f=self.faces.copy(), kintree_table=tree, **arrays)
        # smplx prints a warning to standard output, which is reserved for results.
        with contextlib.redirect_stdout(io.StringIO()):
            return smplx.MANO(
                model_path="",
                data_struct=struct,
                is_rhand=self.side == "right",
                use_pca=False,
                flat_hand_mean=True,
                batch_size=batch_size,
            )


def side_of(rest_joints_m: ndarray) -> Literal["left", "right"]:
    """Which hand (16, 3) joints of MANO's template are: its thumb toward +z and its palm facing -y, a right hand's
    fingers go along -x."""
    knuckles = rest_joints_m[[1, 4, 7, 10]].mean(axis=0)
    return "right" if knuckles[0] < rest_joints_m[0, 0] else "left"


def local_rotations(global_orient: ndarray, hand_pose: ndarray) -> ndarray:
    """(..., 16, 3, 3) rotation of each MANO joint in its parent's frame; leading axes broadcast."""
    batch = np.broadcast_shapes(global_orient.shape[:-1], hand_pose.shape[:-1])
    axis_angle = np.empty((*batch, NUM_MANO_JOINTS, 3))
    axis_angle[..., 0, :] = global_orient
    axis_angle[..., 1:, :] = hand_pose.reshape(*hand_pose.shape[:-1], 15, 3)
    return rotation_from_axis_angle(axis_angle)


def forward_kinematics(R_local: ndarray, rest_joints: ndarray) -> tuple[ndarray, ndarray]:
    """World rotation and position of each joint; the root stays where it rests.

    The five fingers are three joints each, so three batched products walk the whole tree.

    Args:
        R_local: (..., 16, 3, 3) rotations in the parent's frame.
        rest_joints: (..., 16, 3) joints in the zero pose, metres.

    Returns:
        R_world (..., 16, 3, 3) and centers (..., 16, 3), metres.
    """
    batch = np.broadcast_shapes(R_local.shape[:-3], rest_joints.shape[:-2])
    R_world = np.empty((*batch, NUM_MANO_JOINTS, 3, 3))
    centers = np.empty((*batch, NUM_MANO_JOINTS, 3))
    R_world[..., 0, :, :] = R_local[..., 0, :, :]
    centers[..., 0, :] = rest_joints[..., 0, :]
    bones = rest_joints[..., 1:, :] - rest_joints[..., MANO_PARENTS[1:], :]
    for level in range(3):
        joints = slice(1 + level, NUM_MANO_JOINTS, 3)
        parents = slice(0, 1) if level == 0 else slice(level, NUM_MANO_JOINTS, 3)
        R_parent = R_world[..., parents, :, :]
        R_world[..., joints, :, :] = R_parent @ R_local[..., joints, :, :]
        step = (R_parent @ bones[..., level::3, :, None])[..., 0]
        centers[..., joints, :] = centers[..., parents, :] + step
    return R_world, centers


def _floats(array: Any, shape: tuple[int, ...], where: str) -> ndarray:
    array = np.asarray(array)
    if array.shape != shape or array.dtype.kind not in "fiu":
        raise ModelError(
            f"{where}: expected numbers of shape {shape}, got {array.dtype} of shape {array.shape}. "
            "Use a MANO hand model with 10 shapes, made with `handpipe import mano`."
        )
    out = array.astype(np.float64)
    if not np.isfinite(out).all():
        raise ModelError(f"{where}: expected finite numbers, found NaN or infinity. Import the model again.")
    return out


def _integers(array: Any, where: str) -> ndarray:
    array = np.asarray(array)
    if array.dtype.kind not in "iu" or array.size == 0:
        raise ModelError(f"{where}: expected integers, got {array.dtype} of shape {array.shape}. Import it again.")
    # Official files store the root's parent as 2^32 - 1.
    return array.astype(np.int64)


def _digest(arrays: Mapping[str, ndarray], faces: ndarray) -> str:
    """Twelve digits that identify the content; rounding to 1e-6 hides the last bits of other machines."""
    sha = hashlib.sha256()
    for name in _SHAPES:
        sha.update(name.encode())
        sha.update((np.round(arrays[name], 6) + 0.0).astype("<f4").tobytes())
    sha.update(faces.astype("<i4").tobytes())
    return sha.hexdigest()[:12]
