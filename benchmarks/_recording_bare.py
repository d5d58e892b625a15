"""The least that films cameras: one thread for each, from the driver into PyAV. What `handpipe record` is held against.

    python benchmarks/_recording_bare.py FOLDER CAMERAS WIDTH HEIGHT RATE SECONDS

It accounts for nothing: no numbers, no times, no queue. Prints the number of frames that it wrote, as JSON.
"""

from __future__ import annotations

import json
import resource
import sys
import threading
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from pypylon import pylon


def film(camera: Any, path: Path, rate: int, stop: threading.Event, counts: list[int]) -> None:
    """One camera until it is stopped."""
    with av.open(str(path), "w", format="matroska") as file:
        options = {"preset": "ultrafast", "tune": "zerolatency", "crf": "18"}
        stream = file.add_stream("libx264", rate=Fraction(rate), options=options)
        stream.width, stream.height, stream.pix_fmt = camera.Width.Value, camera.Height.Value, "yuv420p"
        stream.codec_context.thread_count = 1
        written = 0
        while not stop.is_set():
            result = camera.RetrieveResult(200, pylon.TimeoutHandling_Return)
            if result.IsValid() and result.GrabSucceeded():
                frame = av.VideoFrame.from_ndarray(result.GetArray(), format="gray")
                result.Release()
                frame.pts, frame.time_base = written, Fraction(1, rate)
                for packet in stream.encode(frame):
                    file.mux(packet)
                written += 1
        for packet in stream.encode(None):
            file.mux(packet)
    counts.append(written)


def main() -> None:
    folder, (count, width, height, rate, seconds) = Path(sys.argv[1]), map(int, sys.argv[2:])
    factory = pylon.TlFactory.GetInstance()
    cameras = [pylon.InstantCamera(factory.CreateDevice(device)) for device in factory.EnumerateDevices()[:count]]
    for camera in cameras:
        camera.Open()
        camera.MaxNumBuffer.Value = 16
        camera.Width.Value, camera.Height.Value, camera.ExposureTimeAbs.Value = width, height, 3000.0
        camera.AcquisitionFrameRateEnable.Value, camera.AcquisitionFrameRateAbs.Value = True, float(rate)
        camera.StartGrabbing(pylon.GrabStrategy_OneByOne)
    stop, counts = threading.Event(), []
    threads = [
        threading.Thread(target=film, args=(camera, folder / f"{n}.mkv", rate, stop, counts))
        for n, camera in enumerate(cameras)
    ]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    stop.set()
    lasted = time.monotonic() - start
    for thread in threads:
        thread.join()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(json.dumps({"frames": sum(counts), "seconds": lasted, "memory_mb": memory}))


if __name__ == "__main__":
    main()
