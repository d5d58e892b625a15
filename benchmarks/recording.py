"""`handpipe record`: frames kept under load, lost frames entered, killed recordings, and pictures that stay the same.

    python benchmarks/recording.py [--parts load drops kills faults memory pictures encoders] [--seconds 60]
                                   [--drops 100] [--kills 50] [--unplugs 20] [--minutes 10] [--session DIR]
                                   [--json FILE]

Cameras are Basler's emulated ones and clips that are played in real time; no hardware. load: 50 cameras of 320x256
and 8 of 1280x1024, at 10 and 15 fps, beside a bare PyAV writer of the same cameras in the same run. drops: frames
that a camera counts and never delivers. kills: SIGKILL at random moments. faults: cameras unplugged at random
moments, a throttled disk and a full one (loop devices and control groups; needs root). memory: over minutes.
pictures: the clips of a session (by default a rendered one of 8 views), filmed by emulated cameras with FFV1:
detections are compared; and with H.264, by joints. encoders: the clips of --session, which has been
run, encoded again in several ways.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
import zarr
from _recording_commands import handpipe, rig, rig_of_clips, said
from _recording_encoders import encoders
from _recording_faults import faults, memory
from _report import Figure, grid, report

from handpipe.capture.recording.channel import TOO_SLOW
from handpipe.capture.recording.journal import SUFFIX, CameraLog
from handpipe.capture.session import read_session
from handpipe.capture.settings import CaptureSettings
from handpipe.capture.video import read_frames

LOADS = {"50 cameras 320x256": (50, 320, 256), "8 cameras 1280x1024": (8, 1280, 1024)}
RATES = (10, 15)
PICTURES_PER_S = 24.0
"""Of all cameras together that film pictures: the emulator reads each from a file."""
PARTS = ("load", "drops", "kills", "faults", "memory", "pictures", "encoders")


def load(folder: Path, seconds: int) -> list[Figure]:
    """Share of the frames that are kept, and memory, beside a bare writer."""
    figures, rows = [], {}
    for name, (count, width, height) in LOADS.items():
        for rate in RATES:
            bare = folder / f"bare-{count}-{rate}"
            bare.mkdir()
            command = [sys.executable, Path(__file__).with_name("_recording_bare.py"), bare]
            command += [count, width, height, rate, seconds]
            environment = {**os.environ, "PYLON_CAMEMU": str(count)}
            out = subprocess.run([*map(str, command)], env=environment, stdout=subprocess.PIPE, check=True).stdout
            peer = json.loads(out)
            due = count * rate * seconds
            row = {"bare": f"{peer['frames'] / due:.1%}"}
            for trigger in ("free-run", "software"):
                day = folder / f"day-{count}-{rate}-{trigger}"
                config = rig(folder, count, width, height, rate, trigger=trigger, duration_s=float(seconds))
                found = said(handpipe("record", day, "--config", config, "--json", cameras=count))
                kept = sum(each["frames"] for each in found["cameras"].values())
                share, entered = kept / due, rows_there(found, trigger == "free-run")
                reached = max(share / 0.95, share / (0.8 * peer["frames"] / due))
                row |= {
                    trigger: f"{share:.1%}",
                    f"{trigger}, entered": f"{entered:.2%}",
                    f"{trigger}, memory": f"{found['peak_memory_mb']:.0f} MB",
                    f"{trigger}, apart": f"{1e3 * found['skew']['median_s']:.1f} ms",
                }
                what = f"{name}, {rate} fps, {trigger}"
                figures += [
                    Figure(f"{what}: kept, of 95 % or 0.8 of bare", reached, "", 1.0, "higher"),
                    Figure(f"{what}: rows for every instant", entered, "", 1.0, "higher"),
                    Figure(f"{what}: memory", found["peak_memory_mb"], "MB", 1500),
                ]
                shutil.rmtree(day)
            rows[f"{name}, {rate} fps"] = row
            print(f"{name}, {rate} fps: {row}", file=sys.stderr)
            shutil.rmtree(bare)
    columns = ["bare"] + [f"{trigger}{what}" for trigger in ("free-run", "software")
                          for what in ("", ", entered", ", memory", ", apart")]  # fmt: skip
    grid(f"load, {seconds} s each", rows, columns)
    return figures


def rows_there(record: dict[str, Any], free: bool) -> float:
    """Share of cameras and instants that have a row. A camera of its own clock may begin or end an instant apart."""
    rows = (Path(record["recording"]) / "timestamps.csv").read_text().splitlines()[1:]
    there = {tuple(row.split(",")[:2]) for row in rows}
    due = {(str(at), name) for at in range(free, record["instants"] - free) for name in record["cameras"]}
    return len(there & due) / len(due)


def drops(folder: Path, runs: int) -> list[Figure]:
    """Recordings in which some frames are never delivered: those whose rows say exactly that."""
    source, frames, size = folder / "source", 30, (64, 48)
    source.mkdir()
    for name in "abc":
        writer = cv2.VideoWriter(str(source / f"{name}.avi"), cv2.VideoWriter.fourcc(*"FFV1"), 30.0, size)
        for n in range(frames):
            writer.write(np.full((*size[::-1], 3), 3 * n, np.uint8))
        writer.release()
    right = 0
    for run in range(runs):
        draw = random.Random(run)
        gone = {name: sorted(draw.sample(range(frames), draw.randint(0, 10))) for name in "abc"}
        cameras = {name: {"source": str(source / f"{name}.avi"), "faults": {"drop": gone[name]}} for name in "abc"}
        path = folder / "drops.yaml"
        rig_of_clips(path, cameras, frames / 30)
        found = said(handpipe("record", folder / "drops", "--config", path, "--json"))
        rows = (Path(found["recording"]) / "timestamps.csv").read_text().splitlines()[1:]
        # A busy machine triggers too late now and then, which is entered too: the camera knows nothing of these.
        cells = [cell for row in rows if (cell := row.split(","))[6] != TOO_SLOW]
        given = {name: [cell for cell in cells if cell[1] == name] for name in "abc"}
        entered = {name: [at for at, cell in enumerate(each) if not cell[2]] for name, each in given.items()}
        expected = {name: [at for at in gone[name] if at < len(given[name])] for name in "abc"}
        right += entered == expected and all(_shows(Path(found["recording"]), name, given[name]) for name in "abc")
        if entered != expected:
            print(f"run {run}: expected {expected}, found {entered}", file=sys.stderr)
    return [Figure("recordings whose entries are exactly the drops", right / runs, "", 1.0, "higher")]


def _shows(take: Path, name: str, cells: list[list[str]]) -> bool:
    """Whether the frame of every row of a view is the picture that its trigger took."""
    session = read_session(take, CaptureSettings())
    clip = next(each for each in session.clips if each.view == name)
    pictures = [round(float(image.mean()) / 3) for image in read_frames(clip, range(clip.frames))]
    return all(pictures[int(cell[2])] == at for at, cell in enumerate(cells) if cell[2])


def kills(folder: Path, times: int) -> list[Figure]:
    """Recordings that are killed: what is lost of them, and whether `run` reads them."""
    lost, accepted = [], 0
    config = rig(folder, 4, 320, 256, 15, duration_s=60.0)
    for n in range(times):
        day = folder / f"kill-{n}"
        process = handpipe("record", day, "--config", config, cameras=4)
        journals = day / "take-001" / ".recording"
        while not all((path := journals / f"c{n + 1}{SUFFIX}").is_file() and path.stat().st_size for n in range(4)):
            time.sleep(0.01)
        time.sleep(random.Random(n).uniform(0.2, 6.0))
        killed_s = time.monotonic()
        process.send_signal(signal.SIGKILL)
        process.communicate()
        # The cameras' frames arrive all the time: what is missing is from the last one that was kept to the kill.
        logs = {path.stem: CameraLog(path) for path in journals.glob(f"*{SUFFIX}")}
        lost.append(max(killed_s - log.host_s[-1] for log in logs.values()))
        clips = {clip.view: clip.frames for clip in read_session(day / "take-001", CaptureSettings()).clips}
        accepted += clips.keys() == logs.keys() and all(clips[name] >= log.frames for name, log in logs.items())
        shutil.rmtree(day)
    return [
        Figure("killed recordings that are accepted with all views", accepted / times, "", 1.0, "higher"),
        Figure("recording lost by a kill, at the most", max(lost), "s", 1.0),
    ]


def pictures(folder: Path, session: Path | None) -> list[Figure]:
    """A session's own pictures filmed by emulated cameras: detections and joints."""
    if session is None:
        session = folder / "small"
        size = ("--views", 8, "--frames", 30, "--fps", 15, "--board-frames", 60, "--width", 480, "--height", 384)
        said_nothing = handpipe("synthesize", session, *size)
        assert said_nothing.wait() == 0
    clips = read_session(session, CaptureSettings()).clips
    cameras = {}
    for n, clip in enumerate(clips):
        place = folder / "pictures" / clip.view
        place.mkdir(parents=True)
        for at, image in enumerate(read_frames(clip, range(clip.frames))):
            cv2.imwrite(str(place / f"{at:05}.png"), image)
        cameras[clip.view] = {"serial": f"0815-{n:04}", "images": str(place)}
    (width, height), rate = clips[0].size_px, PICTURES_PER_S / len(clips)
    takes = {}
    for codec in ("ffv1", "h264"):
        day = folder / codec
        shutil.copytree(session / "calibration", day / "calibration")
        path = folder / f"{codec}.yaml"
        path.write_text(yaml.safe_dump({
            "rate": rate, "encoder": {"codec": codec}, "duration_s": clips[0].frames / rate, "cameras": cameras,
            "defaults": {"backend": "pylon", "width": width, "height": height, "pixel_format": "BGR8Packed"},
        }))  # fmt: skip
        found = said(handpipe("record", day, "--config", path, "--json", cameras=len(clips)))
        missing = sum(sum(each["missing"].values()) for each in found["cameras"].values())
        if missing or found["instants"] != clips[0].frames:
            raise SystemExit(f"{codec}: {missing} pictures are missing: the machine is too busy to compare anything")
        takes[codec] = Path(found["recording"])
    for place in (session, *takes.values()):
        assert handpipe("run", place).wait() in (0, 3), f"{place}: the run failed"
    stores = {name: zarr.open_group(str(place / "session.zarr"), mode="r") for name, place in takes.items()}
    own = zarr.open_group(str(session / "session.zarr"), mode="r")
    same = [np.array_equal(_array(own, "detections", key), _array(stores["ffv1"], "detections", key), equal_nan=True)
            for key in ("points", "score", "right")]  # fmt: skip
    joints = {name: _array(store, "mano", "joints") for name, store in stores.items()}
    apart = np.linalg.norm(joints["h264"] - joints["ffv1"], axis=-1)
    return [
        Figure("arrays of detections that are identical with FFV1", sum(same) / len(same), "", 1.0, "higher"),
        Figure("joints with H.264 from those with FFV1, mean", 1e3 * float(np.nanmean(apart)), "mm", 0.3),
    ]


def _array(store: zarr.Group, group: str, name: str) -> np.ndarray:
    return np.asarray(store[f"{group}/{name}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--seconds", type=int, default=60, help="of each recording under load")
    parser.add_argument("--drops", type=int, default=100, help="recordings with drops")
    parser.add_argument("--kills", type=int, default=50, help="recordings that are killed")
    parser.add_argument("--unplugs", type=int, default=20, help="recordings in which a camera is unplugged")
    parser.add_argument("--minutes", type=float, default=10.0, help="of the recording whose memory is measured")
    parser.add_argument("--session", type=Path, help="a session whose pictures are filmed, of at most 50 views")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if "load" in options.parts:
            figures += load(folder, options.seconds)
        if "drops" in options.parts:
            figures += drops(folder, options.drops)
        if "kills" in options.parts:
            figures += kills(folder, options.kills)
        if "faults" in options.parts:
            figures += faults(folder, options.unplugs)
        if "memory" in options.parts:
            figures += memory(folder, options.minutes)
        if "encoders" in options.parts and options.session is not None:
            figures += encoders(folder, options.session)
        if "pictures" in options.parts:
            figures += pictures(folder, options.session)
    figures.append(Figure("load of the machine at the end", os.getloadavg()[0], f"on {os.cpu_count()} cores"))
    raise SystemExit(bool(report("recording", figures, options.json)))


if __name__ == "__main__":
    main()
