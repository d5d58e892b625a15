"""Settings of a rig."""

from __future__ import annotations

import pytest
from paths import ROOT

from handpipe.capture.recording.settings import RigConfig, unusable_names
from handpipe.core.config import build, keys


def test_every_setting_is_documented():
    page = (ROOT / "docs" / "recording.md").read_text()
    for key in keys(RigConfig):
        if not key.is_section:
            name = key.path[-1] if key.path[0] in ("cameras", "defaults") else str(key)
            assert f"`{name}`" in page or key.path == ("cameras",), name


def test_a_camera_takes_what_it_does_not_say_from_the_defaults():
    rig = build(
        RigConfig,
        [
            (
                "rig.yaml",
                {"defaults": {"backend": "pylon", "gain": 3}, "cameras": {"a": {"gain": 0}, "b": {"serial": "7"}}},
            )
        ],
    )
    assert (rig.camera("a").backend, rig.camera("a").gain) == ("pylon", 0)
    assert (rig.camera("b").serial, rig.camera("b").gain) == ("7", 3)


@pytest.mark.parametrize("name", ["a/b", "", ".a", "a.", " a", "con", "a\nb", "a:b", "x" * 101])
def test_names_that_no_file_has(name):
    assert len(list(unusable_names({name: None}))) == 1


def test_usual_names():
    assert not list(unusable_names(dict.fromkeys(["c1", "left cam", "Kamera-Süd", "c10", "0815-0000"])))
