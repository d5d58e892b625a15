"""Recordings in which a camera is unplugged, or the disk is slow or full; and memory over minutes."""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
from _recording_commands import handpipe, rig, rig_of_clips, said
from _report import Figure

from handpipe.capture.recording.channel import TOO_SLOW
from handpipe.capture.recording.journal import SUFFIX
from handpipe.capture.session import read_session
from handpipe.capture.settings import CaptureSettings
from handpipe.capture.video import read_frames

SIZE, FRAMES, BRIGHTER = (64, 48), 60, 3
BYTES_PER_S = 300_000
"""Of the throttled disk. Two cameras need about six times as much."""
CGROUP = Path("/sys/fs/cgroup/blkio/handpipe-benchmark")


def faults(folder: Path, unplugs: int) -> list[Figure]:
    """Unplugged cameras, a slow disk, a full disk."""
    return unplugged(folder, unplugs) + slow_disk(folder) + full_disk(folder)


def unplugged(folder: Path, runs: int) -> list[Figure]:
    """A camera is away for a while: every frame is in its row, and those that it missed are entered."""
    for name in "ab":
        writer = cv2.VideoWriter(str(folder / f"{name}.avi"), cv2.VideoWriter.fourcc(*"FFV1"), 30.0, SIZE)
        for n in range(FRAMES):
            writer.write(np.full((*SIZE[::-1], 3), BRIGHTER * n, np.uint8))
        writer.release()
    right = 0
    for run in range(runs):
        draw = random.Random(run)
        gone = {"frame": draw.randint(3, 30), "seconds": round(draw.uniform(0.1, 0.5), 2)}
        cameras: dict[str, Any] = {name: {"source": str(folder / f"{name}.avi")} for name in "ab"}
        cameras["a"]["faults"] = {"disconnect": gone}
        path = folder / "unplugged.yaml"
        rig_of_clips(path, cameras, FRAMES / 30)
        found = said(handpipe("record", folder / "unplugged", "--config", path, "--json"))
        right += _back_again(Path(found["recording"]), gone["frame"], found["notes"])
    return [Figure("recordings in which a camera was unplugged: right in every row", right / runs, "", 1.0, "higher")]


def _back_again(take: Path, frame: int, notes: list[str]) -> bool:
    """Whether rows and pictures of both cameras are right: a's up to the fault, none for a while, then later ones."""
    rows = [row for row in csv.DictReader((take / "timestamps.csv").open()) if row["missing"] != TOO_SLOW]
    mine = {name: [row for row in rows if row["cam_id"] == name] for name in "ab"}
    shown = {}
    for clip in read_session(take, CaptureSettings()).clips:
        pictures = [round(float(image.mean()) / BRIGHTER) for image in read_frames(clip, range(clip.frames))]
        shown[clip.view] = [pictures[int(row["frame_index"])] if row["frame_index"] else None
                            for row in mine[clip.view]]  # fmt: skip
    away = [at for at, row in enumerate(mine["a"]) if row["missing"]]
    numbers = [number for number in shown["a"] if number is not None]
    fine = (
        shown["b"] == list(range(len(shown["b"])))
        and shown["a"][:frame] == list(range(frame))
        and away == list(range(frame, frame + len(away)))
        and numbers == sorted(set(numbers))
        and len(numbers) > frame
        and any("connected again" in note for note in notes)
    )
    if not fine:
        print(f"{take}: unplugged at {frame}: {shown['a']}", file=sys.stderr)
    return fine


def slow_disk(folder: Path) -> list[Figure]:
    """A disk that takes a sixth of what is recorded: what it cannot take is entered, the rest is right."""
    with disk(folder / "slow", 200, BYTES_PER_S) as place:
        if place is None:
            return []
        config = rig(
            folder, 2, 320, 256, 30, duration_s=20.0, encoder={"codec": "ffv1"}, queue_mb=8.0, keep_free_gb=0.0
        )
        process = handpipe("record", place / "day", "--config", config, "--json", cameras=2)
        (CGROUP / "cgroup.procs").write_text(str(process.pid))
        found = said(process)
        kept = {name: each["frames"] for name, each in found["cameras"].items()}
        lost = sum(sum(each["missing"].values()) for each in found["cameras"].values())
        clips = {clip.view: clip.frames for clip in read_session(Path(found["recording"]), CaptureSettings()).clips}
    due = 2 * found["instants"]
    return [
        Figure("slow disk: frames kept", sum(kept.values()) / due, "of all"),
        Figure("slow disk: frames kept or entered", (sum(kept.values()) + lost) / due, "of all", 1.0, "higher"),
        Figure("slow disk: clips with the frames of their rows", float(clips == kept), "", 1.0, "higher"),
        Figure("slow disk: memory", found["peak_memory_mb"], "MB", 500),
    ]


def full_disk(folder: Path) -> list[Figure]:
    """A disk that becomes full."""
    with disk(folder / "full", 100, None) as place:
        if place is None:
            return []
        config = rig(folder, 2, 320, 256, 30, duration_s=8.0, encoder={"codec": "ffv1"}, keep_free_gb=0.0)
        process = handpipe("record", place / "day", "--config", config, "--json", cameras=2)
        journal = place / "day" / "take-001" / ".recording" / f"c1{SUFFIX}"
        while not (journal.is_file() and journal.stat().st_size):
            assert process.poll() is None
            time.sleep(0.02)
        time.sleep(2.0)
        _take_all(place)
        process.communicate()
        # The account is made when there is room again and the take is opened.
        for other in place.glob("other-*"):
            other.unlink()
        take = place / "day" / "take-001"
        clips = {clip.view: clip.frames for clip in read_session(take, CaptureSettings()).clips}
        found = json.loads((take / "recording.json").read_text())
        entered = all(each["frames"] + sum(each["missing"].values()) == found["instants"]
                      for each in found["cameras"].values())  # fmt: skip
    readable = all(clips[name] >= each["frames"] for name, each in found["cameras"].items())
    reasons = {reason for each in found["cameras"].values() for reason in each["missing"]}
    return [
        # The account cannot be written then, which ends the command with a sentence.
        Figure("full disk: said", float(process.returncode == 2 or "disk full" in reasons), "", 1.0, "higher"),
        Figure("full disk: rows for every instant, and all that was kept can be read", float(entered and readable), "",
               1.0, "higher"),
    ]  # fmt: skip


def _take_all(place: Path) -> None:
    """Somebody else takes all the room that is left."""
    state = os.statvfs(place)
    size = state.f_bfree * state.f_bsize
    for n in range(40):
        with (place / f"other-{n}").open("wb") as file, suppress(OSError):
            os.posix_fallocate(file.fileno(), 0, max(size >> n, 4096))


@contextmanager
def disk(folder: Path, megabytes: int, bytes_per_s: int | None) -> Iterator[Path | None]:
    """A file system of its own, throttled if a rate is given; None, and a line about it, where it is not permitted."""
    image = folder.with_suffix(".img")
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(megabytes << 20)
    # With -o sync, whoever writes waits for the disk, and can be throttled.
    commands = [["mkfs.ext4", "-q", image], ["mount", "-o", "loop,sync", image, folder]]
    try:
        for command in commands:
            subprocess.run([*map(str, command)], check=True, capture_output=True)
        if bytes_per_s is not None:
            CGROUP.mkdir(exist_ok=True)
            device = folder.stat().st_dev
            number = f"{device >> 8}:{device & 255}"
            (CGROUP / "blkio.throttle.write_bps_device").write_text(f"{number} {bytes_per_s}")
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"left out: a disk of its own is not permitted here ({error})", file=sys.stderr)
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)
        if CGROUP.is_dir():
            CGROUP.rmdir()


def memory(folder: Path, minutes: float) -> list[Figure]:
    """Eight cameras of 640x512 for minutes: memory of the process in the first and in the last quarter."""
    day = folder / "memory"
    config = rig(folder, 8, 640, 512, 15, duration_s=60.0 * minutes, queue_mb=256.0)
    process = handpipe("record", day, "--config", config, "--json", cameras=8)
    watched, samples = psutil.Process(process.pid), []
    began_s = time.monotonic()
    while process.poll() is None:
        try:
            samples.append((time.monotonic() - began_s, watched.memory_info().rss / 1e6))
        except psutil.NoSuchProcess:
            break
        time.sleep(1.0)
    found = said(process)
    shutil.rmtree(day)
    seconds, rss = np.array(samples).T
    quarter = 60 * minutes / 4
    first = float(rss[(seconds > 15) & (seconds < 15 + quarter)].max())
    last = float(rss[seconds > 60 * minutes - quarter].max())
    return [
        Figure(
            f"memory over {minutes:g} minutes: peak", found["peak_memory_mb"], "MB", 200 + 256 + 8 * 16 * 0.33 + 150
        ),
        Figure("growth from the first to the last quarter", last - first, "MB", 20),
    ]
