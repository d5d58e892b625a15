"""Synthetic sessions: what a seed is of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from handpipe.capture.video import find_clips, probe, read_frames
from handpipe.core.engine import Engine
from handpipe.core.settings import EngineSettings
from handpipe.core.storage.schema import read_cameras
from handpipe.core.storage.store import Store
from handpipe.rendering.settings import SynthesisSettings
from handpipe.rendering.synthesize import synthesize
from handpipe.screen import Screen

SMALL = SynthesisSettings(views=2, frames=1, board_frames=1, width=96, height=64, seed=3)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """By name: a folder with a session."""
    found = {}
    for name, options in {
        "one": SMALL,
        "its rig": replace(SMALL, seed=4, rig_seed=3),
        "another": replace(SMALL, seed=4),
    }.items():
        found[name] = tmp_path_factory.mktemp("session") / "synthetic"
        with Engine(EngineSettings(workers=0), Screen()) as engine:
            assert synthesize(found[name], options, engine)
            assert not synthesize(found[name], options, engine)
    return found


def truth(root):
    return Store(str(root / "truth.zarr"))


def test_sessions_of_one_rig_have_its_cameras_and_other_hands(rendered):
    one, same, other = (truth(rendered[name]) for name in ("one", "its rig", "another"))
    np.testing.assert_array_equal(read_cameras(one).T_cam_world, read_cameras(same).T_cam_world)
    assert not np.allclose(read_cameras(one).T_cam_world, read_cameras(other).T_cam_world)
    np.testing.assert_array_equal(same.read("mano", "betas"), other.read("mano", "betas"))
    assert not np.allclose(one.read("mano", "betas"), same.read("mano", "betas"))


def test_sessions_of_one_rig_are_in_its_room(rendered):
    """The edge of the image shows no hand: it differs by sensor noise and the codec alone."""

    def edge(name):
        clip = probe(next(iter(find_clips(rendered[name] / "videos").values())))
        return next(iter(read_frames(clip, [0])))[:6].astype(float)

    near, far = (np.abs(edge("one") - edge(name)).mean() for name in ("its rig", "another"))
    assert 3 * near < far, (near, far)


def test_sessions_made_before_rigs_had_seeds_are_not_rendered_again(rendered):
    for name, has in (("one", False), ("its rig", True)):
        fingerprint = truth(rendered[name]).fingerprint("clips")
        assert fingerprint is not None
        assert ("rig_seed" in fingerprint["settings"]) == has
