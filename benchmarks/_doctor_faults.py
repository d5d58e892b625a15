"""Faults planted in copies of a recording for `doctor.py`; unchanged files are links."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from _faults_sessions import clips, overwrite, packets
from numpy import ndarray
from numpy.random import Generator

from handpipe.capture.video import clip_writer, probe, read_frames


@dataclass(frozen=True)
class Expected:
    """What `doctor` has to say of a fault."""

    checks: tuple[str, ...]
    """One of these."""
    remedy: str
    """A pattern that its remedy, or its reason with the remedy, matches."""
    view: str = ""
    """The view that is named."""
    flags: tuple[str, ...] = ()
    """Of the command."""

    def found_in(self, checks: Iterable[dict[str, Any]]) -> tuple[bool, bool]:
        """Whether the fault is found, and with the right remedy."""
        named = [
            check
            for check in checks
            if check["severity"] != "ok"
            and check["name"] in self.checks
            and self.view in f"{check['view']} {check['reason']}"
        ]
        return bool(named), any(re.search(self.remedy, f"{check['reason']} {check['remedy']}") for check in named)


@dataclass(frozen=True)
class Fault:
    """A fault, and how it is planted in a session."""

    name: str
    plant: Callable[[Path, Generator], Expected]


FAULTS: list[Fault] = []


def fault(name: str) -> Callable[[Callable[[Path, Generator], Expected]], None]:
    return lambda plant: FAULTS.append(Fault(name, plant))


def linked(session: Path, root: Path) -> Path:
    """A copy of a session made of links, without results."""
    for path in sorted(session.rglob("*")):
        place = root / path.relative_to(session)
        if path.is_file() and not any(part.endswith(".zarr") for part in place.parts):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(path.resolve())
    return root


def _drawn(root: Path, rng: Generator, folder: str = "videos") -> Path:
    """One clip."""
    paths = sorted((root / folder).iterdir())
    return paths[int(rng.integers(len(paths)))]


def rewritten(path: Path, change: Callable[[list[ndarray]], Sequence[ndarray]], fps: float | None = None) -> Path:
    """Encode a clip again, with other images."""
    clip = probe(path)
    images = change(list(read_frames(clip, range(clip.frames))))
    path.unlink()
    with clip_writer(path, fps or clip.fps, (images[0].shape[1], images[0].shape[0])) as writer:
        for image in images:
            writer.write(image)
    return path


def _own_bytes(path: Path) -> bytes:
    """The content of a link, which is let go."""
    content = path.read_bytes()
    path.unlink()
    return content


def _with_h264(path: Path) -> Path:
    """The clip in H.264."""
    clip = probe(path)
    images = list(read_frames(clip, range(clip.frames)))
    path.unlink()
    with av.open(str(path), "w") as file:
        stream: Any = file.add_stream("libx264", rate=round(clip.fps), options={"g": "10", "bf": "0", "crf": "20"})
        stream.width, stream.height, stream.pix_fmt = *clip.size_px, "yuv420p"
        for image in images:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image[..., ::-1]))))
        file.mux(stream.encode())
    return path


@fault("a truncated clip")
def _(root: Path, rng: Generator) -> Expected:
    path = _drawn(root, rng)
    content = _own_bytes(path)
    path.write_bytes(content[: int(len(content) * rng.uniform(0.3, 0.95))])
    return Expected(("clips",), "truncated.*Copy it again", path.stem)


@fault("a middle that cannot be decoded")
def _(root: Path, rng: Generator) -> Expected:
    path = _with_h264(_drawn(root, rng))
    places = packets(path)
    overwrite(path, places[int(len(places) * rng.uniform(0.3, 0.8)) :], 255)
    return Expected(("decoding", "clips"), "cannot be decoded.*[Cc]opy it again", path.stem)


@fault("a clip that is a text file")
def _(root: Path, rng: Generator) -> Expected:
    path = _drawn(root, rng)
    path.unlink()
    path.write_text("not a clip\n" * 50)
    return Expected(("clips",), "text file.*Copy it again", path.stem)


@fault("a camera that dropped frames")
def _(root: Path, rng: Generator) -> Expected:
    path = rewritten(_drawn(root, rng), lambda images: images[: -int(rng.integers(2, 5))])
    return Expected(("clips",), "frames like the other clips.*Trim the clips|timestamps.csv", path.stem)


@fault("frames that are missing by timestamps.csv")
def _(root: Path, rng: Generator) -> Expected:
    view, paths = _drawn(root, rng).stem, clips(root)
    lines = ["sync_index,cam_id,frame_index,frame_time"]
    for path in paths:
        clip = probe(path)
        gone = set(rng.choice(np.arange(1, clip.frames - 1), clip.frames // 6, replace=False).tolist())
        kept = [n for n in range(clip.frames) if path.stem != view or n not in gone]
        lines += [f"{n},{path.stem},{index},{n / clip.fps:.6f}" for index, n in enumerate(kept)]
    (root / "timestamps.csv").write_text("\n".join(lines) + "\n")
    return Expected(("dropped frames by their times",), "fewer cameras", view)


@fault("every second frame doubled")
def _(root: Path, rng: Generator) -> Expected:
    path = rewritten(_drawn(root, rng), lambda images: [images[n - n % 2] for n in range(len(images))])
    return Expected(("doubled frames",), "exposure time|lower the rate", path.stem)


@fault("another rate in one header")
def _(root: Path, rng: Generator) -> Expected:
    path = _drawn(root, rng)
    rewritten(path, lambda images: images, probe(path).fps * float(rng.choice([0.5, 0.8, 2])))
    return Expected(("clips",), "frames per second like the other clips.*same rate", path.stem)


@fault("another size in one view")
def _(root: Path, rng: Generator) -> Expected:
    scale = float(rng.choice([0.5, 0.75]))
    path = rewritten(_drawn(root, rng), lambda images: [cv2.resize(each, None, fx=scale, fy=scale) for each in images])
    return Expected(("clips",), "pixels like the other clips.*same size", path.stem)


def _images(name: str, change: Callable[[ndarray, Generator], ndarray], checks: tuple[str, ...], remedy: str) -> None:
    """A fault of all images of one view."""

    @fault(name)
    def _(root: Path, rng: Generator) -> Expected:
        path = rewritten(_drawn(root, rng), lambda images: [change(image, rng) for image in images])
        return Expected(checks, remedy, path.stem)


def _dark(image: ndarray, rng: Generator) -> ndarray:
    return np.clip(0.15 * image + rng.normal(0, 1.5, image.shape), 0, 255).astype(np.uint8)


def _bright(image: ndarray, rng: Generator) -> ndarray:
    return np.clip(2.6 * image.astype(float), 0, 255).astype(np.uint8)


def _soft(image: ndarray, rng: Generator) -> ndarray:
    return cv2.GaussianBlur(image, (0, 0), image.shape[1] / 160)


def _far(image: ndarray, rng: Generator) -> ndarray:
    """The scene an eighth as large, in the middle of a plain picture."""
    height, width = image.shape[:2]
    out = np.full_like(image, 110)
    small = cv2.resize(image, (width // 7, height // 7), interpolation=cv2.INTER_AREA)
    at = height // 2 - small.shape[0] // 2, width // 2 - small.shape[1] // 2
    out[at[0] : at[0] + small.shape[0], at[1] : at[1] + small.shape[1]] = small
    return out


def _away(image: ndarray, rng: Generator) -> ndarray:
    """A camera that looks at the wall."""
    height, width = image.shape[:2]
    out = np.full_like(image, 120)
    out[: height // 3] = 150
    cv2.rectangle(out, (width // 4, height // 2), (width // 2, height - 20), (90, 70, 60), -1)
    return np.clip(out + rng.normal(0, 2, out.shape), 0, 255).astype(np.uint8)


_images("an underexposed view", _dark, ("exposure",), "[Aa]dd light")
_images("an overexposed view", _bright, ("exposure",), "Lower the exposure")
_images("a view out of focus", _soft, ("focus",), "Focus this camera")
_images("hands that are too small", _far, ("size of the hands", "hands found"), "closer|Point this camera|lens")
_images("a camera that looks past the hands", _away, ("hands found",), "Point this camera at the hands")


def _late(images: list[ndarray], steps: int) -> list[ndarray]:
    return [images[0]] * steps + images[:-steps]


@fault("a view that is late")
def _(root: Path, rng: Generator) -> Expected:
    steps = int(rng.integers(3, 6))
    path = rewritten(_drawn(root, rng), lambda images: _late(images, steps))
    return Expected(("synchronisation by motion",), f"{steps} frames.*later.*(Trigger|timestamps.csv)", path.stem)


def _board_folder(root: Path) -> str:
    return "calibration" if (root / "calibration").is_dir() else "videos"


@fault("a board clip that is late")
def _(root: Path, rng: Generator) -> Expected:
    steps = int(rng.integers(2, 6))
    path = rewritten(_drawn(root, rng, _board_folder(root)), lambda images: _late(images, steps))
    remedy = "[Ss]ynchroni[sz]e|not synchronized"
    return Expected(("synchronisation by the board", "calibration"), remedy, path.stem)


@fault("a mirrored board clip")
def _(root: Path, rng: Generator) -> Expected:
    path = rewritten(_drawn(root, rng, _board_folder(root)), lambda images: [each[:, ::-1].copy() for each in images])
    return Expected(("calibration",), "mirrored", path.stem)


@fault("a camera that does not see the board")
def _(root: Path, rng: Generator) -> Expected:
    path = rewritten(_drawn(root, rng, _board_folder(root)), lambda images: [_away(image, rng) for image in images])
    return Expected(("calibration",), "[Ss]how it to this camera", path.stem)


@fault("two groups of cameras that share no board")
def _(root: Path, rng: Generator) -> Expected:
    paths = sorted((root / _board_folder(root)).iterdir())
    order = rng.permutation(len(paths))
    for n, path in enumerate(paths):
        first = n in order[: len(paths) // 2]

        def half(images: list[ndarray], first: bool = first) -> list[ndarray]:
            middle = len(images) // 2
            blank = [_away(image, rng) for image in images]
            return images[:middle] + blank[middle:] if first else blank[:middle] + images[middle:]

        rewritten(path, half)
    return Expected(("calibration",), "at the same time, the closest pair")


@fault("another dictionary than described")
def _(root: Path, rng: Generator) -> Expected:
    other = str(rng.choice(["DICT_5X5_100", "DICT_6X6_250"]))
    return Expected(
        ("calibration",), "found with dictionary: DICT_4X4.*Correct `board`", "", ("--board.dictionary", other)
    )


@fault("squares ten times too large")
def _(root: Path, rng: Generator) -> Expected:
    flags = ("--board.square-m", "0.4", "--board.marker-m", "0.3")
    return Expected(("length of the hands", "calibration"), "Measure the print", "", flags)


@fault("timestamps.csv in milliseconds")
def _(root: Path, rng: Generator) -> Expected:
    lines = ["sync_index,cam_id,frame_index,frame_time"]
    for path in clips(root):
        clip = probe(path)
        lines += [f"{n},{path.stem},{n},{1000 * n / clip.fps:.3f}" for n in range(clip.frames)]
    (root / "timestamps.csv").unlink(missing_ok=True)
    (root / "timestamps.csv").write_text("\n".join(lines) + "\n")
    return Expected(("session folder",), "timestamps_unit: ms|divide frame_time")


@fault("settings under another name")
def _(root: Path, rng: Generator) -> Expected:
    name = str(rng.choice(["session.yml", "Session.yaml", "settings.yaml"]))
    (root / name).write_text("fps: 25\n")
    return Expected(("unused files",), "session.yaml", name)


@fault("a hand model that is not there")
def _(root: Path, rng: Generator) -> Expected:
    return Expected(("hand model",), "handpipe import mano", "", ("--hand-model", str(root / "mano")))
