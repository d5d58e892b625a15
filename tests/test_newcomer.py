"""A newcomer who has only the README, and what the documentation shows: run as it stands there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import nbformat
import numpy as np
import pytest
from clips import overwrite
from nbclient import NotebookClient
from paths import ROOT
from readme import console_blocks, install_line, not_said, quoted, section, shell_lines

from handpipe.capture.video import clip_writer

MOST_COMMANDS = 10
"""From a clean machine to a picture of hands."""


class Desk:
    """A folder in which the README's installation was done: `.venv/bin/handpipe` is the one of this Python."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.typed: list[str] = [install_line()]
        self.said: list[str] = []
        (folder / ".venv/bin").mkdir(parents=True)
        (folder / ".venv/bin/handpipe").symlink_to(Path(sys.executable).with_name("handpipe"))

    def type(self, line: str, status: int = 0) -> None:
        """Run a line in a shell."""
        self.typed.append(line)
        path = f"{self.folder / '.venv/bin'}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line],
            cwd=self.folder,
            env={**os.environ, "PATH": path, "COLUMNS": "110"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == status, f"{line}\n{done.stderr}"
        self.said += [done.stdout, done.stderr]


def shares(image_bgr: np.ndarray) -> tuple[float, float]:
    """How much of a picture has the orange of a drawn left hand, and how much has the colour of skin."""
    hue, saturation, value = np.moveaxis(cv2.cvtColor(image_bgr, cv2.COLOR_BGR2HSV), -1, 0)
    lit = value > 60
    orange = lit & (hue >= 13) & (hue < 22) & (saturation > 140)
    return float(orange.mean()), float((lit & (hue < 13) & (saturation > 50)).mean())


def frames(clip: Path) -> list[np.ndarray]:
    with av.open(str(clip)) as opened:
        return [frame.to_ndarray(format="bgr24") for frame in opened.decode(video=0)]


def check_meshes(drawn: list[np.ndarray], footage: list[np.ndarray]) -> None:
    """Meshes cover the hands of the footage: one is orange, and of the skin little is left."""
    (orange, skin), (no_orange, bare) = (
        np.mean([shares(image) for image in each], axis=0) for each in (drawn, footage)
    )
    assert bare > 0.03
    assert skin < 0.4 * bare
    assert orange > 0.02
    assert no_orange < 0.2 * orange


# ---- the README -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tried(tmp_path_factory):
    """After the section "Try it"."""
    desk = Desk(tmp_path_factory.mktemp("newcomer"))
    for line in shell_lines(section("Try it")):
        if line != install_line():
            desk.type(line)
    return desk


def test_from_the_readme_to_a_clip_of_hands(tried):
    assert len(tried.typed) <= MOST_COMMANDS
    assert (tried.folder / "small-session/report.html").stat().st_size < 15e6
    (view,) = re.findall(r"hands\.mp4: 30 frames of (c\d)", "".join(tried.said))
    check_meshes(frames(tried.folder / "hands.mp4"), frames(tried.folder / f"small-session/videos/{view}.mp4"))


def test_from_a_folder_of_clips_to_a_picture_of_hands(tiny, tmp_path):
    """The user has clips of the hands and of the board, and the README's board."""
    desk, steps = Desk(tmp_path / "desk"), section("Your own recording")
    videos, boards = quoted(steps, r"my-session/\w+/$")
    desk.type(f"mkdir -p {videos} {boards}")
    desk.type(f"cp {tiny}/videos/*.mp4 {videos}")
    desk.type(f"cp {tiny}/calibration/*.mp4 {boards}")
    (settings,), (board,) = quoted(steps, r"my-session/session\.yaml"), quoted(steps, "board: ")
    desk.type(f"echo '{board}' > {settings}")
    for line in quoted(steps, "handpipe "):
        desk.type(line)
    assert len(desk.typed) <= MOST_COMMANDS
    (view,) = re.findall(r"hands\.jpg: \d+ frames of (c\d)", "".join(desk.said))
    picture = cv2.imread(str(desk.folder / "hands.jpg"))
    assert picture is not None
    check_meshes([picture], frames(desk.folder / f"my-session/videos/{view}.mp4"))
    assert (desk.folder / "my-session/report.html").exists()
    assert list((desk.folder / "hands").glob("*.gl*"))


def test_the_python_of_the_readme(tried):
    (code,) = (block.split("```")[0] for block in section("Your own recording").split("```python\n")[1:])
    subprocess.run([sys.executable, "-c", code], cwd=tried.folder, check=True)


def test_the_tour_runs(tried):
    """The notebook, from its first cell to its last; its figures and values are those of the session at hand."""
    notebook = nbformat.read(ROOT / "docs" / "tour.ipynb", as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tried.folder)}}).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert sum("image/png" in output.get("data", {}) for output in shown) == 2
    assert not any(output.output_type == "error" for output in shown)


# ---- output that pages show -----------------------------------------------------------------------------------------


def redrawn(clip: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """The clip with other images."""
    images = [change(image) for image in frames(clip)]
    with clip_writer(clip, 15.0, (images[0].shape[1], images[0].shape[0])) as writer:
        for image in images:
            writer.write(image)


def three_views(root: Path) -> None:
    """Clips of 45 frames without hands."""
    (root / "videos").mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8)
    for view in range(3):
        with clip_writer(root / f"videos/cam_{view}.mp4", 30.0, (128, 96)) as writer:
            for n in range(45):
                writer.write(np.roll(noise, n, axis=1))


def a_damaged_clip(root: Path, tried: Desk) -> None:
    three_views(root)
    overwrite(root / "videos/cam_2.mp4", 30, 44)


def milliseconds(root: Path, tried: Desk) -> None:
    three_views(root)
    rows = [f"{n},{view},{n},{n * 1000 / 30:.3f}" for n in range(45) for view in range(3)]
    (root / "timestamps.csv").write_text("\n".join(["sync_index,cam_id,frame_index,frame_time", *rows]))


def a_camera_without_board_and_one_out_of_focus(root: Path, tried: Desk) -> None:
    for kind in ("videos", "calibration"):
        shutil.copytree(tried.folder / "small-session" / kind, root / kind)
    redrawn(root / "calibration/c2.mp4", lambda image: cv2.GaussianBlur(image, (0, 0), 15))
    redrawn(root / "videos/c5.mp4", lambda image: cv2.GaussianBlur(image, (0, 0), 2.5))


PREPARED = {
    "Before a run: the doctor and the board": (a_camera_without_board_and_one_out_of_focus, 3),
    "Timestamps in milliseconds": (milliseconds, 2),
    "A damaged clip": (a_damaged_clip, 0),
}
"""What `my-session` is in the examples of the pages, by the title above each, and the exit status."""

SHOWN = [example for page in sorted((ROOT / "docs").glob("*.md")) for example in console_blocks(f"docs/{page.name}")]


@pytest.mark.parametrize(("title", "command", "output"), SHOWN, ids=[title for title, *_ in SHOWN])
def test_commands_say_what_the_pages_show(title, command, output, tried, tmp_path):
    """Figures aside; a page may leave lines out."""
    if command in [typed.removeprefix(".venv/bin/") for typed in tried.typed]:
        said = "".join(tried.said)
    else:
        prepare, status = PREPARED[title]
        prepare(tmp_path / "my-session", tried)
        desk = Desk(tmp_path)
        desk.type(command, status)
        said = "".join(desk.said)
    assert not not_said(output, said), said


def test_output_is_compared_without_figures_and_in_order():
    said = "│ frames │ 45 at 30 fps │\nwarning: late\nverdict  good\n"
    assert not_said("frames   12 at 7.5 fps\nverdict good", said) == []
    assert not_said("verdict good\nframes 45 at 30 fps", said) == ["frames # at # fps"]
    assert not_said("verdict bad", said) == ["verdict bad"]
    assert {title for title, *_ in SHOWN} == PREPARED.keys() | {"A sound run"}
