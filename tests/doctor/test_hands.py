"""The length of hands by the rig, which only a wrong unit makes impossible."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from calibration_scenes import arc_rig

from handpipe.doctor.hands import HandLook, length_check


@pytest.mark.parametrize(("unit", "severity"), [(1.0, "ok"), (10.0, "error"), (0.1, "error")])
def test_a_rig_in_another_unit_has_impossible_hands(rng, unit, severity):
    """Cameras 1 m from the middle with a focal length of 600 to 720 px: a hand of 100 px is 15 cm long."""
    rig = arc_rig(4, rng)
    T = rig.T_cam_world.copy()
    T[:, :3, 3] *= unit
    looks = {name: HandLook(3, 3, np.full(6, 100.0), 0.1) for name in rig.names}
    check = length_check(looks, replace(rig, T_cam_world=T))
    assert check is not None
    assert check.severity == severity
    assert check.value == pytest.approx(0.15 * unit, rel=0.2)


def test_without_hands_nothing_is_said(rng):
    rig = arc_rig(4, rng)
    assert length_check({name: HandLook(3, 0, np.zeros(0), 0.1) for name in rig.names}, rig) is None
