"""The motion of two hands, ready to be drawn: joints of all frames, and the lit surfaces of one."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy import ndarray

from ..core.geometry import rotation_from_axis_angle
from ..core.hands import HANDS, NUM_JOINTS, NUM_POSE
from ..hand.model import HandModel
from .arm import arm_at_rest, arm_skin
from .render import Light, LitHands, light_hands
from .scenes import Arm, palm_frames
from .skin import SKIN_BGR, HandSkin, hand_skin

HAND_BGR = np.array([[0, 159, 230], [233, 180, 86]])
"""(hand, 3) Okabe and Ito's orange and sky blue: to be told apart by everybody, on light and on dark."""

TINT = 0.75
"""How much of a tinted hand's colour is not skin."""

BARE = Arm(np.zeros(2), np.inf, 0.0, np.zeros(3))
"""A forearm without a sleeve, straight on from the hand: nothing measures how the wrist bends."""


@dataclass(frozen=True, eq=False)
class MovingHands:
    """One motion of two hands, in any frame of reference."""

    models: tuple[HandModel, HandModel]
    betas: ndarray
    """(hand, 10)"""
    pose: Mapping[str, ndarray]
    """`global_orient` (frame, hand, 3), `hand_pose` (frame, hand, 45) and `transl` (frame, hand, 3)."""
    valid: ndarray
    """(frame, hand) bool"""
    number: ndarray
    """(frame,) int: of each frame in the store."""
    fps: float
    arms: bool = False
    """Whether forearms are drawn."""
    tinted: bool = True
    """Whether the hands have the colours of left and right; else that of skin."""

    def __len__(self) -> int:
        return len(self.number)

    @cached_property
    def joints_m(self) -> ndarray:
        """(frame, hand, 21, 3), NaN where there is no hand."""
        out = np.full((len(self), len(HANDS), NUM_JOINTS, 3), np.nan)
        for hand, model in enumerate(self.models):
            there = self.valid[:, hand]
            out[there, hand] = model.joints(self.betas[hand], *(each[there, hand] for each in self.pose.values()))
        return out

    @property
    def anywhere(self) -> bool:
        """Whether there is a hand in any frame."""
        return bool(self.valid.any())

    def vertices_m(self, frame: int, hand: int) -> ndarray:
        """(778, 3) of a hand that is there."""
        return self.models[hand].vertices(self.betas[hand], *(each[frame, hand] for each in self.pose.values()))

    def surfaces_m(self, frame: int) -> list[tuple[HandSkin, ndarray]]:
        """The skins of what is there in a frame, and their vertices (n, 3)."""
        found = []
        for hand in np.flatnonzero(self.valid[frame]).tolist():
            found.append((self._skins[hand], self.vertices_m(frame, hand)))
            if self.arms:
                skin, rest_m = self._arms[hand]
                R = rotation_from_axis_angle(self.pose["global_orient"][frame, hand])
                found.append((skin, rest_m @ R.T + self.joints_m[frame, hand, 0]))
        return found

    def lit(self, frame: int, R: ndarray, light: Light) -> LitHands | None:
        """The surfaces of a frame, turned by R (3, 3), in a light; None where there is no hand."""
        found = self.surfaces_m(frame)
        if not found:
            return None
        parts = [light_hands([skin], (vertices @ R.T)[None], light) for skin, vertices in found]
        first = np.cumsum([0, *(len(part.vertices_m) for part in parts[:-1])])
        faces = [part.faces + np.int32(start) for part, start in zip(parts, first, strict=True)]
        columns = ([getattr(part, name) for part in parts] for name in ("vertices_m", "normals", "color", "gloss"))
        vertices, normals, color, gloss = (np.concatenate(each) for each in columns)
        return LitHands(vertices, normals, np.concatenate(faces), color, gloss, light)

    @cached_property
    def _skins(self) -> list[HandSkin]:
        skins = [
            hand_skin({"v_template": model.v_template, "f": model.faces, "J": model.rest_joints}, model.side)
            for model in self.models
        ]
        return [self._colored(skin, hand) for hand, skin in enumerate(skins)]

    @cached_property
    def _arms(self) -> list[tuple[HandSkin, ndarray]]:
        """Colours, and vertices from the wrist of a hand in the zero pose."""
        found, still, flat = [], np.zeros(3), np.zeros(NUM_POSE)
        for hand, (model, betas) in enumerate(zip(self.models, self.betas, strict=True)):
            wrist, knuckle = model.joints(betas, still, flat, still)[[0, 9]]
            rest = arm_at_rest(model.vertices(betas, still, flat, still), wrist, knuckle, BARE)
            found.append((self._colored(arm_skin(rest, BARE, SKIN_BGR), hand), rest - wrist))
        return found

    def _colored(self, skin: HandSkin, hand: int) -> HandSkin:
        if not self.tinted:
            return skin
        brightness = skin.albedo.mean(axis=1, keepdims=True) / SKIN_BGR.mean()
        mixed = (1 - TINT) * skin.albedo + TINT * brightness * HAND_BGR[hand] / 255
        return replace(skin, albedo=mixed.astype(np.float32))


def own_axes(hands: MovingHands, up: ndarray | None) -> ndarray:
    """(3, 3) rotation to the frame that motion is shown in, as the person sees it: x to the right, y away, z up.

    Args:
        hands: with a hand in some frame.
        up: (3,) in the world; None: where the backs of the hands point, and y along the fingers.
    """
    joints, both = hands.joints_m, hands.valid.all(axis=1)
    palms = np.concatenate([palm_frames(joints[hands.valid[:, hand], hand], hand)[0] for hand in range(len(HANDS))])
    along, back = palms[..., 0].sum(axis=0), palms[..., 1].sum(axis=0)
    z = back if up is None else up
    z = z / np.linalg.norm(z)
    # From the left wrist to the right one; one hand alone points away from its person.
    for x in (np.diff(joints[both][:, :, 0], axis=1).sum(axis=(0, 1)), np.cross(along, z), np.cross(along, back)):
        level = x - (x @ z) * z
        if np.linalg.norm(level) > 0.2 * np.linalg.norm(x):
            break
    x = level / np.linalg.norm(level)
    return np.stack([x, np.cross(z, x), z])
