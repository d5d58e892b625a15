"""Faults of clips: what headers claim and files hold; and files of a session folder that are not taken."""

from __future__ import annotations

import shutil
import struct
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
from _faults_planting import Fault, Seen, handpipe, put_right, told
from _faults_sessions import FPS, FRAMES, checked, clips, decodable, encode, one_clip, overwrite, packets, session
from numpy.random import Generator

FAULTS: list[Fault] = []


def fault(kind: str, name: str) -> Callable[[Callable[[Path, Generator], Seen]], None]:
    return lambda plant: FAULTS.append(Fault(kind, name, plant))


container, ignored = (lambda name, kind=kind: fault(kind, name) for kind in ("containers", "ignored files"))


def _counted(root: Path) -> Seen:
    """The frames of the session have to be those that the clips hold."""
    ran = checked(root)
    return put_right(ran, ran.figures.get("frames") == min(map(decodable, clips(root))))


@container("an edit list hides frames")
def _(folder: Path, rng: Generator) -> Seen:
    root, rig = session(folder / "s", rng, encoder={"g": "10"})
    whole, cut = folder / "whole.mp4", float(rng.integers(11, 16)) / FPS
    clips(root)[0].rename(whole)
    target_path = clips(root)[0].with_name("cut.mp4")
    with av.open(str(whole)) as source, av.open(str(target_path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        demuxed: Any = source.demux(source.streams.video[0])
        for packet in demuxed:
            if packet.size and packet.pts * packet.time_base >= 10 / FPS:
                shift = round(cut / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, stream
                target.mux(packet)
    names = [path for path in clips(root) if path != target_path] + [whole]
    for path in names:
        shutil.copy(target_path, root / "videos" / (path.name if path != whole else f"{rig.names[0]}.mp4"))
    target_path.unlink()
    return _counted(root)


def _says(frames: int) -> Callable[[Path, Generator], Seen]:
    def plant(folder: Path, rng: Generator) -> Seen:
        root, _ = session(folder / "s", rng, ".avi")
        claim = struct.pack("<I", max(frames + int(rng.integers(-3, 4)), 1))
        for path in clips(root):
            content = bytearray(path.read_bytes())
            for chunk, offset in ((b"avih", 24), (b"strh", 40)):
                at = content.index(chunk) + offset
                content[at : at + 4] = claim
            path.write_bytes(content)
        return _counted(root)

    return plant


container("a header that says fewer frames")(_says(FRAMES // 2))
container("a header that says more frames")(_says(3 * FRAMES))


@container("sound that runs on")
def _(folder: Path, rng: Generator) -> Seen:
    return _counted(session(folder / "s", rng, ".mkv", sound_s=float(rng.uniform(1.5, 4)))[0])


@container("webm without a duration")
def _(folder: Path, rng: Generator) -> Seen:
    codec = str(rng.choice(["libvpx", "libvpx-vp9"]))
    return _counted(session(folder / "s", rng, ".webm", codec=codec, container={"live": "1"})[0])


@container("a variable rate in all views")
def _(folder: Path, rng: Generator) -> Seen:
    turn = int(rng.integers(5, 15))
    times = np.r_[np.arange(turn) / 20, turn / 20 + np.arange(FRAMES - turn) / 50]
    root, _ = session(folder / "s", rng, ".mkv", times=times)
    ran = checked(root)
    rate = 1 / np.median(np.diff(times))
    return put_right(ran, abs(ran.figures.get("fps", 0) / rate - 1) < 0.03)


@container("a variable rate in one view")
def _(folder: Path, rng: Generator) -> Seen:
    root, _ = session(folder / "s", rng, ".mkv")
    pause = int(rng.integers(5, 15))
    path = one_clip(root, rng)
    encode(path, rng, np.r_[np.arange(pause), np.arange(pause, FRAMES) + int(rng.integers(6, 12))] / FPS)
    return told(checked(root), path.name, "presentation times differ")


@container("one view is rotated")
def _(folder: Path, rng: Generator) -> Seen:
    root, _ = session(folder / "s", rng)
    path = one_clip(root, rng)
    content = path.read_bytes()
    one = b"\x00\x01\x00\x00"
    unit = one + bytes(12) + one + bytes(12) + b"\x40\x00\x00\x00"
    quarter = bytes(4) + one + bytes(4) + b"\xff\xff\x00\x00" + bytes(16) + b"\x40\x00\x00\x00"
    at = content.index(unit, content.index(b"tkhd"))
    path.write_bytes(content[:at] + quarter + content[at + len(unit) :])
    return told(checked(root), path.name, "expected 320x240 pixels", "found 240x320 pixels")


@container("a truncated mp4")
def _(folder: Path, rng: Generator) -> Seen:
    root, _ = session(folder / "s", rng)
    path = one_clip(root, rng)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * rng.uniform(0.3, 0.95))])
    return told(checked(root), path.name, "truncated")


@container("a truncated mkv")
def _(folder: Path, rng: Generator) -> Seen:
    root, _ = session(folder / "s", rng, ".mkv")
    path = one_clip(root, rng)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * rng.uniform(0.4, 0.9))])
    return told(
        checked(root), path.name, r"expected 20 frames like the other clips, but found \d+ frames|cannot be dec"
    )


@container("a hole in a clip")
def _(folder: Path, rng: Generator) -> Seen:
    root, _ = session(folder / "s", rng)
    path, first = one_clip(root, rng), int(rng.integers(3, 9))
    overwrite(path, packets(path)[first : first + int(rng.integers(2, 5))], 0)
    return told(checked(root), path.name, "cannot be decoded")


@container("a middle that cannot be decoded")
def _(folder: Path, rng: Generator) -> Seen:
    root, _ = session(folder / "s", rng, codec="libx264", encoder={"g": "10", "bf": "0"})
    path, first = one_clip(root, rng), int(rng.integers(6, 15))
    overwrite(path, packets(path)[first:], 255)
    return told(handpipe("detect", root, "--workers", 0, "--json"), f"frames {first} to 19 of view {path.stem} cannot")


@container("a camera that dropped frames")
def _(folder: Path, rng: Generator) -> Seen:
    root, _ = session(folder / "s", rng, ".mkv")
    path = one_clip(root, rng)
    kept = np.delete(np.arange(FRAMES), rng.choice(np.arange(1, FRAMES - 1), int(rng.integers(1, 4)), replace=False))
    encode(path, rng, kept / FPS)
    return told(checked(root), path.name, f"expected 20 frames like the other clips, but found {len(kept)}")


@container("another rate in one header")
def _(folder: Path, rng: Generator) -> Seen:
    root, _ = session(folder / "s", rng)
    path = one_clip(root, rng)
    encode(path, rng, fps=int(rng.choice([24, 30, 50, 60])))
    return told(checked(root), path.name, "expected 25 frames per second like the other clips")


def _renamed(names: tuple[str, ...], *reasons: str, content: str = "") -> Callable[[Path, Generator], Seen]:
    """A file or clip by one of the names is put into a session."""

    def plant(folder: Path, rng: Generator) -> Seen:
        root, _ = session(folder / "s", rng)
        path = root / str(rng.choice(names))
        path.parent.mkdir(exist_ok=True)
        if content:
            path.write_text(content)
        else:
            shutil.copy(clips(root)[0], path)
        return told(checked(root), path.name if path.parent.name in ("s", "videos") else path.parent.name, *reasons)

    return plant


SETTINGS = ("session.yml", "Session.yaml", "sesion.yaml", "settings.yaml", "session.yaml.txt", "config.yml")
TABLES = ("Timestamps.csv", "timestamp.csv", "TIMESTAMPS.CSV", "timestamps.tsv", "videos/timestamps.csv")
RIGS = ("camera.toml", "cameras.yml", "Cameras.toml", "calibration.toml", "videos/cameras.toml")
OUTSIDE = ("top.mp4", "front.MOV", "left.mkv")
UNREAD = ("videos/top.h264", "videos/top.lrv", "videos/top.y4m", "videos/top.vob", "videos/top.mp4v")
FOLDERS = ("Videos/top.mp4", "video/top.mp4", "calib/top.mp4", "Calibration/top.mp4")
ignored("settings under another name")(_renamed(SETTINGS, "this file is not read", "session.yaml", content="fps: 25\n"))
ignored("timestamps under another name")(_renamed(TABLES, "this file is not read", "timestamps.csv", content="a,b\n"))
ignored("cameras under another name")(_renamed(RIGS, "this file is not read", "cameras.toml", content="a = 1\n"))
ignored("a clip beside the folder")(_renamed(OUTSIDE, "this clip is not read", "videos"))
ignored("a clip with a suffix that is not read")(_renamed(UNREAD, "not read as a clip", "Convert"))
ignored("a folder under another name")(_renamed(FOLDERS, "this folder is not read", "Rename"))


@ignored("clips with a rare suffix")
def _(folder: Path, rng: Generator) -> Seen:
    root, rig = session(folder / "s", rng)
    path = one_clip(root, rng)
    path.rename(path.with_suffix(str(rng.choice([".m4v", ".MTS", ".M4V", ".Mp4", ".wmv", ".3gp"]))))
    ran = checked(root)
    return put_right(ran, ran.figures.get("views") == len(rig) and not ran.figures["ignored"])


@ignored("a name in the other Unicode form")
def _(folder: Path, rng: Generator) -> Seen:
    root, rig = session(folder / "s", rng)
    name = str(rng.choice(["caméra", "größe", "kąt", "señal"]))
    text = (root / "cameras.toml").read_text().replace(f'"{rig.names[0]}"', f'"{unicodedata.normalize("NFC", name)}"')
    (root / "cameras.toml").write_text(text)
    clips(root)[0].rename(root / "videos" / f"{unicodedata.normalize('NFD', name)}.mp4")
    ran = checked(root)
    return put_right(ran, ran.figures.get("views_calibrated") == len(rig))


@ignored("a name in another case")
def _(folder: Path, rng: Generator) -> Seen:
    root, _ = session(folder / "s", rng)
    path = one_clip(root, rng)
    path.rename(path.with_stem(path.stem.upper()))
    return told(checked(root), path.stem, path.stem.upper())


@ignored("a camera without a clip")
def _(folder: Path, rng: Generator) -> Seen:
    root, _ = session(folder / "s", rng)
    path = one_clip(root, rng)
    path.unlink()
    return told(checked(root), path.stem, "clip")


@ignored("a clip without a camera")
def _(folder: Path, rng: Generator) -> Seen:
    root, _ = session(folder / "s", rng)
    path = one_clip(root, rng)
    added = path.with_stem(str(rng.choice(["extra", "top_2", "gopro"])))
    shutil.copy(path, added)
    return told(checked(root), added.stem, "calibration|camera")


@ignored("two clips of one view")
def _(folder: Path, rng: Generator) -> Seen:
    root, _ = session(folder / "s", rng)
    path = one_clip(root, rng)
    other = path.with_suffix(str(rng.choice([".MTS", ".avi", ".m4v", ".mov"])))
    shutil.copy(path, other)
    return told(checked(root), path.name, other.name)
