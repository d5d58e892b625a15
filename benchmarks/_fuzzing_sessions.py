"""What lies in a session's folder, and settings: YAML, timestamps, the record of a recording, leases, clips."""

from __future__ import annotations

import csv
import io
import json
import random
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from _fuzzing_containers import boxes
from _fuzzing_format import BYTES, SEVERAL, TEXT, Format, only_file
from _fuzzing_mutations import DEEP, Files, dumped, havoc, in_a_file, in_front, json_tree, tree

from handpipe.capture.recording.camera import FrameStamp
from handpipe.capture.recording.closing import complete
from handpipe.capture.recording.frame_queue import Kept, Lost
from handpipe.capture.recording.journal import Journal
from handpipe.capture.recording.settings import RigConfig
from handpipe.capture.timeline import read_timestamps
from handpipe.capture.video import probe, read_frames
from handpipe.commands.recording import read_rig
from handpipe.core.cluster.description import read_cluster
from handpipe.core.errors import VideoError
from handpipe.core.storage import lease
from handpipe.settings import DEFAULT_CONFIG, Config, load_config

NO_IMAGE = np.zeros((1, 1), np.uint8)

HEADER_BYTES = 2048
"""Of a clip: where its container says what it holds."""


def formats() -> list[Format]:
    yamls = (*TEXT, *[in_a_file(_yaml_tree)] * 3)
    records = (*SEVERAL, *[in_a_file(json_tree, "*.json")] * 3, in_a_file(havoc, "*/*.journal"))
    return [
        Format("settings: pipeline.yaml", _pipeline, _settings, yamls, ("core.config",)),
        Format("settings: rig.yaml", _rig, _read_rig, yamls, ("core.config",)),
        Format("settings: cluster.yaml", _cluster, _read_cluster, yamls, ("core.cluster.description",)),
        Format("session: timestamps.csv", _timestamps, _timeline, TEXT, ("capture.timeline", "capture.time_units")),
        Format("session: recording.json, journals", _recording, _complete, records,
               ("capture.recording.closing", "capture.recording.journal"), writes=True),
        Format("store: lease", _lease, _wait, (*TEXT, *[in_a_file(json_tree)] * 2), ("core.storage.lease",)),
        Format("video: mp4", _mp4, _probe, (*BYTES, *[in_a_file(boxes)] * 3), ("capture.video", "capture.container")),
        Format("video: mkv", _mkv, _probe, _in_headers(), ("capture.video", "capture.container")),
        Format("video: avi", _avi, _probe, _in_headers(), ("capture.video", "capture.container")),
    ]  # fmt: skip


def _in_headers() -> tuple[Any, ...]:
    return (*BYTES, *[in_a_file(in_front(havoc, HEADER_BYTES))] * 3)


# ---- settings ----------------------------------------------------------------------------------------------------


def _yaml_tree(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """Settings with one place changed, in YAML's or in JSON's way of writing."""
    value = tree(rng, yaml.safe_load(data))
    if rng.random() < 0.5 or DEEP in repr(value):
        return dumped(rng, value)
    with suppress(yaml.YAMLError, ValueError):  # NUL and halves of characters are not YAML.
        return yaml.safe_dump(value, allow_unicode=True).encode("utf-8", "surrogatepass")
    return dumped(rng, value)


def _pipeline(folder: Path) -> list[Files]:
    session = (
        b"board: {type: charuco, columns: 9, rows: 6, square_m: 0.03, marker_m: 0.022}\nfps: 29.97\n"
        b"capture:\n  mixed_sizes: true\n  dead_views: 0.2\nsessions:\n  a: {path: /data/a}\n"
    )
    return [{"s.yaml": text} for text in (DEFAULT_CONFIG.read_bytes(), session)]


def _settings(folder: Path) -> None:
    config, layers = load_config(Path(only_file(folder)), None)
    assert isinstance(config, Config)
    assert len(layers) == 2
    # What `handpipe config` prints, and what goes into fingerprints.
    json.dumps(layers[1][1], default=str)


def _rig(folder: Path) -> list[Files]:
    text = (
        b"cameras:\n  left: {serial: '40'}\n  right: {serial: '41', exposure_us: 3000.0, gain: 2}\n"
        b"defaults: {backend: pylon, width: 1280, height: 1024}\nrate: 60\ntrigger: free-run\n"
        b"encoder: {codec: h264, quality: 20}\nduration_s: 10\nproducers: [/opt/a.cti]\nsession: {fps: 60}\n"
    )
    clips = b"cameras: {a: {backend: file, source: a.mp4, faults: {drop: [1, 2], stall: {frame: 3, seconds: 0.1}}}}\n"
    return [{"rig.yaml": content} for content in (text, clips)]


def _read_rig(folder: Path) -> None:
    assert isinstance(read_rig(Path(only_file(folder))), RigConfig)


def _cluster(folder: Path) -> list[Files]:
    slurm = (
        b"type: slurm\nworkers: 16\ncores: 4\nmemory: 64 GB\nwalltime: 12:00:00\nqueue: cpu\nsetup: [module load x]\n"
    )
    pods = b"type: kubernetes\nworkers: 8\nmemory: 8 GiB\nimage: registry/handpipe:1\n"
    return [{"c.yaml": text} for text in (slurm, pods, b"type: scheduler\naddress: tcp://10.0.0.1:8786\n")]


def _read_cluster(folder: Path) -> None:
    assert read_cluster(only_file(folder)).cluster.type in ("local", "scheduler", "slurm", "kubernetes")


# ---- a session's folder --------------------------------------------------------------------------------------------


def _timestamps(folder: Path) -> list[Files]:
    found = []
    for start, gap in ((0, False), (100, True)):
        out = io.StringIO()
        writer = csv.writer(out)
        writer.writerow(("sync_index", "cam_id", "frame_index", "frame_time"))
        for k in range(6):
            for view in range(2):
                missing = gap and k == 2 and view == 1
                writer.writerow((k, view if gap else f"c{view}", "" if missing else start + k, f"{k / 30:.6f}"))
        found.append({"timestamps.csv": out.getvalue().encode()})
    return found


def _timeline(folder: Path) -> None:
    found = read_timestamps(Path(only_file(folder)), {"c0": 8, "c1": 8}, (), {"c0": 30.0, "c1": 30.0})
    assert found.source_frame.shape == found.time_s.shape
    assert len(found.source_frame) == 2
    assert ((found.source_frame >= -1) & (found.source_frame < 8)).all()
    assert (np.isfinite(found.time_s) == (found.source_frame >= 0)).all()


def _recording(folder: Path) -> list[Files]:
    """A recording of two cameras that was killed, as its journals and its record tell of it."""
    found = []
    for trigger in ("software", "free-run"):
        files: Files = {"videos/left.mkv": b"", "videos/right.mkv": b""}
        for name in ("left", "right"):
            path = folder / f"{trigger}-{name}.journal"
            journal = Journal(path)
            journal.starts(0, 0)
            for k in range(6):
                if k == 3:
                    journal.lost(Lost("lost by the camera", 0, k, k if trigger == "software" else None))
                    continue
                stamp, ours = FrameStamp(k, 10 + k / 30, k / 30 if name == "left" else None), trigger == "software"
                journal.frame(Kept(stamp, NO_IMAGE, 0, k if ours else None, 10 + k / 30 if ours else None))
            journal.flush(10)
            journal.close()
            files[f".recording/{name}.journal"] = path.read_bytes()
        cameras = {"left": {"backend": "file"}, "right": {"backend": "file"}}
        process = {"machine": "elsewhere", "pid": 1, "started": 1.0}
        record = {"state": "recording", "kind": "take", "trigger": trigger, "rate": 30.0, "process": process,
                  "cameras": cameras, "end_monotonic_s": 10.3}  # fmt: skip
        files["recording.json"] = json.dumps(record).encode()
        found.append(files)
    return found


def _complete(folder: Path) -> None:
    with _frames_of_clips():
        complete(folder)


def _frames_of_clips() -> Any:
    """Clips are fuzzed by themselves: here each has six frames, and the journals are as old as can be."""
    from unittest.mock import patch

    from handpipe.capture.recording import closing

    return patch.multiple(closing, mend=lambda path: 6, QUIET_S=-1.0)


def _lease(folder: Path) -> list[Files]:
    owner = {"host": "a", "machine": lease.this_machine(), "process": 1 << 22, "state": "wants", "beat": 3}
    owners = (owner, {**owner, "machine": "b"}, {**owner, "process": 1, "state": "holds"})
    return [{".lease-0123456789abcdef": json.dumps(each).encode()} for each in owners]


def _wait(folder: Path) -> None:
    """What is done with the files of other writers, without the waiting."""
    for content in lease._Lease(str(folder)).there().values():
        owner = lease._owner(content)
        assert not owner or owner["state"] in (lease.WANTS, lease.HOLDS)
        lease._is_dead(owner)
        lease._words(owner)


# ---- clips -------------------------------------------------------------------------------------------------------


def _clip(folder: Path, name: str, codec: str, rate: int = 30, frames: int = 5, **options: str) -> Files:
    import av

    path, rng = folder / name, np.random.default_rng(0)
    with av.open(str(path), "w", options=options) as file:
        stream = file.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuvj420p" if codec == "mjpeg" else "yuv420p"  # pyright: ignore
        for _ in range(frames):
            image = np.repeat(np.repeat(rng.integers(0, 255, (6, 8, 3), np.uint8), 4, 0), 4, 1)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(image, "bgr24")))  # pyright: ignore
        file.mux(stream.encode())  # pyright: ignore
    return {f"c{path.suffix}": path.read_bytes()}


def _mp4(folder: Path) -> list[Files]:
    plain = _clip(folder, "a.mp4", "mpeg4")
    return [plain, _clip(folder, "b.mp4", "h264"), _clip(folder, "c.mp4", "mpeg4", movflags="frag_keyframe+empty_moov")]


def _mkv(folder: Path) -> list[Files]:
    return [_clip(folder, "a.mkv", "h264"), _clip(folder, "b.mkv", "mjpeg")]


def _avi(folder: Path) -> list[Files]:
    return [_clip(folder, "a.avi", "mjpeg"), _clip(folder, "b.avi", "mpeg4")]


def _probe(folder: Path) -> None:
    clip = probe(Path(only_file(folder)))
    assert min(clip.frames, *clip.size_px) > 0, clip
    assert not np.isnan(clip.fps), clip
    with suppress(VideoError):  # A later frame may be damaged: that is told when it is read.
        for image in read_frames(clip, range(min(clip.frames, 3))):
            assert image.shape == (*clip.size_px[::-1], 3)
