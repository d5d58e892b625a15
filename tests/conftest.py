"""Fixtures that several files share."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from paths import ONE_PROCESS, WEBCAMS
from toy_stage import Quiet

from handpipe.core.engine import Engine
from handpipe.core.settings import EngineSettings
from handpipe.rendering.settings import SynthesisSettings
from handpipe.rendering.synthesize import synthesize

"""Real recordings, where they are at hand."""

TINY = SynthesisSettings(views=8, frames=8, fps=5.0, board_frames=60, width=480, height=384)
"""A rig that calibrates and sees both hands through a whole approach, touch, cross and part: a few seconds to film."""


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def _filmed(tmp_path_factory):
    root = tmp_path_factory.mktemp("filmed") / "tiny"
    with Engine(EngineSettings(workers=2), Quiet()) as engine:
        synthesize(root, TINY, engine)
    return root


@pytest.fixture
def tiny(_filmed, tmp_path):
    """A fresh copy of a small synthetic session with nothing computed yet."""
    return Path(shutil.copytree(_filmed, tmp_path / "tiny"))


@pytest.fixture(scope="session")
def computed(_filmed, tmp_path_factory):
    """The small session after `handpipe run`: to read, or to copy from."""
    root = shutil.copytree(_filmed, tmp_path_factory.mktemp("computed") / "tiny")
    subprocess.run([sys.executable, "-m", "handpipe.cli", "run", root, *ONE_PROCESS], check=True, capture_output=True)
    return Path(root)


@pytest.fixture(scope="session")
def four_cameras():
    """The real four-camera recording, or a skip."""
    folder = WEBCAMS
    if not folder.is_dir():
        pytest.skip(f"the real recording is not at {folder}")
    return folder
