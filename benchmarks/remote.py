"""A run whose results are in S3, against the same run with results in a folder: time, and requests by group.

    python benchmarks/remote.py SESSION [--delay-ms 20] [--turns 1] [--workers 2] [--views N] [--json FILE]

The S3 server is moto's, in a process of its own on this machine. It sleeps before each request, and counts them. Its
own CPU time is on the cores that the workers use, and is printed. Clips stay in the folder. Needs `moto[server]` and
`s3fs`.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import numpy as np
from _report import Figure, grid, report

from handpipe.core.storage.store import Store

BUCKET = "handpipe"
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
COUNTS = "/-/counts"
"""Answers with what was counted so far, and forgets it."""
ROOT = "root and leases"


def serve(delay_s: float, started: Callable[[int], None]) -> None:
    """An S3 server until the process is ended; tells its port."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    s3, counted, guard = DomainDispatcherApplication(create_backend_app), Counter[str](), threading.Lock()

    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == COUNTS:
            with guard:
                body = json.dumps({"requests": counted, "cpu_s": time.process_time()}).encode()
                counted.clear()
            start("200 OK", [("Content-Type", "application/json")])
            return [body]
        with guard:
            counted["\t".join((_kind(environ), _group(environ)))] += 1
        time.sleep(delay_s)
        return s3(environ, start)

    server = make_server("127.0.0.1", 0, answer, threaded=True)
    started(server.port)
    server.serve_forever()


def _kind(environ: Mapping[str, Any]) -> str:
    method, query = environ["REQUEST_METHOD"], environ.get("QUERY_STRING", "")
    if method == "GET" and "list-type" in query:
        return "list"
    if method == "GET" and not environ["PATH_INFO"].endswith("zarr.json"):
        return "get chunk" if "/c/" in environ["PATH_INFO"] else "get other"
    return {"GET": "get metadata", "PUT": "put", "HEAD": "head", "DELETE": "delete", "POST": "delete"}[method]


def _group(environ: Mapping[str, Any]) -> str:
    from urllib.parse import parse_qs

    path = environ["PATH_INFO"].strip("/").removeprefix(BUCKET).strip("/")
    path = path or parse_qs(environ.get("QUERY_STRING", "")).get("prefix", [""])[0].strip("/")
    parts = path.split("/")[1:]
    return parts[0] if len(parts) > 1 or (parts and not parts[0].startswith((".", "zarr"))) else ROOT


@contextmanager
def server(delay_s: float) -> Iterator[Callable[[], dict[str, Any]]]:
    """A running server, by what it has counted since the last look; the environment leads every client to it."""
    context = get_context("spawn")
    ports = context.SimpleQueue()
    process = context.Process(target=serve, args=(delay_s, ports.put), daemon=True)
    process.start()
    address = f"http://127.0.0.1:{ports.get()}"
    os.environ |= {**KEYS, "AWS_ENDPOINT_URL": address}
    with urlopen(Request(f"{address}/{BUCKET}", method="PUT")):
        pass

    def counted() -> dict[str, Any]:
        with urlopen(address + COUNTS) as found:
            return json.loads(found.read())

    try:
        counted()
        yield counted
    finally:
        process.terminate()
        process.join()


def run(session: Path, store: str, workers: int) -> float:
    """Seconds of `handpipe run` with the cameras that the session has."""
    command = [sys.executable, "-m", "handpipe", "run", str(session), "--store", store, "--workers", str(workers)]
    start = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode not in (0, 3):  # A session may be one that is not usable.
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    return time.perf_counter() - start


def copied(session: Path, folder: Path, views: int | None) -> Path:
    """The session without results, of its first views."""
    copy = folder / "session"
    for kind in ("videos", "calibration"):
        (copy / kind).mkdir(parents=True)
        clips = sorted((session / kind).glob("*.mp4"), key=lambda clip: (len(clip.stem), clip.stem))
        for clip in clips[:views]:
            shutil.copy2(clip, copy / kind)
    for name in ("timestamps.csv", "session.yaml"):
        if (session / name).exists():
            shutil.copy2(session / name, copy)
    return copy


def by_group(requests: Mapping[str, int], store: Store) -> tuple[list[Figure], dict[str, dict[str, str]]]:
    """Requests per unit, and a table of them by group and kind."""
    table: dict[str, Counter[str]] = {}
    for key, count in requests.items():
        kind, group = key.split("\t")
        table.setdefault(group, Counter())[kind] += count
    units = {group: int(np.prod(store.done(group).shape)) for group in store.groups() if not group.startswith("_")}
    total, number = sum(requests.values()), sum(units.values())
    rows = {
        group: {
            "units": str(units.get(group, "-")),
            **{kind: str(count) for kind, count in kinds.items()},
            "all": str(kinds.total()),
            "per unit": f"{kinds.total() / units[group]:.1f}" if group in units else "-",
        }
        for group, kinds in sorted(table.items(), key=lambda item: -item[1].total())
    }
    figures = [
        Figure("requests", total, ""),
        Figure("units", number, ""),
        Figure("requests per unit", total / number, "", 20),
    ]
    return figures, rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("session", type=Path)
    parser.add_argument("--delay-ms", type=float, default=20.0)
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--views", type=int, help="only so many of the session's views")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    local_s, remote_s, counted = [], [], {}
    with tempfile.TemporaryDirectory() as temporary, server(options.delay_ms / 1000) as look:
        folder = Path(temporary)
        session = copied(options.session, folder, options.views)
        for turn in range(options.turns):
            local_s.append(run(session, str(folder / f"{turn}.zarr"), options.workers))
            (session / "cameras.toml").unlink()  # The next run would take it as supplied.
            before = look()
            remote_s.append(run(session, f"s3://{BUCKET}/{turn}.zarr", options.workers))
            (session / "cameras.toml").unlink()
            counted = look()
            counted["cpu_s"] -= before["cpu_s"]
        figures, rows = by_group(counted["requests"], Store(f"s3://{BUCKET}/{options.turns - 1}.zarr"))
        kinds = ["units", "get chunk", "get metadata", "get other", "put", "head", "list", "delete", "all", "per unit"]
        grid("requests of one run, by the group they are about", rows, kinds)
    report(
        f"results in S3, {options.delay_ms:g} ms a request: {options.session.name}, {options.workers} workers",
        [
            Figure("in a folder", float(np.median(local_s)), "s median"),
            Figure("in S3", float(np.median(remote_s)), "s median"),
            Figure("in S3 over in a folder", sum(remote_s) / sum(local_s), "x", 1.15),
            Figure("CPU of the server in a run", counted["cpu_s"], "s"),
            *figures,
        ],
        options.json,
    )


if __name__ == "__main__":
    main()
