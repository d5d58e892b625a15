"""Faults planted in what a session has computed: is anything wrong without a word?

    python benchmarks/faults.py --only flips --count 1000 --seed 0 --session SESSION

`flips`: single bits in the files of the session's store, chunks, marks and metadata alike. Each must be found by
`handpipe verify`, and what is read afterwards must be what was written, or an error.

Without `--session`, `small-session` is computed first in a scratch folder.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from _integrity_flips import Flip, flips, table

KINDS = ("flips",)


def computed_session(given: Path | None, scratch: Path) -> Path:
    """A copy of a computed session that may be damaged."""
    if given is not None:
        return Path(shutil.copytree(given, scratch / given.name))
    subprocess.run([sys.executable, "-m", "handpipe", "run", "small-session"], cwd=scratch, check=True)
    return scratch / "small-session"


def run_flips(session: Path, count: int, seed: int) -> dict[str, object]:
    """Flip bits; print what came of it."""
    start, found = time.monotonic(), list[Flip]()
    for flip in flips(session / "session.zarr", count, seed):
        found.append(flip)
        if len(found) % 100 == 0:
            print(f"{len(found)}/{count} flips, {time.monotonic() - start:.0f} s", file=sys.stderr)
    print(table(found))
    missed = [asdict(flip) for flip in found if not flip.found or flip.read in ("silent", "unnamed")]
    figures = {
        "flips": len(found),
        "found": sum(flip.found for flip in found),
        "silent": sum(flip.read == "silent" for flip in found),
        "seconds": round(time.monotonic() - start, 1),
        "missed": missed,
    }
    print(f"{figures['flips']} flips: {figures['found']} found by verify, {figures['silent']} silent")
    for each in missed:
        print(f"missed: {each}")
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=KINDS, action="append", help="kinds of faults; default: all")
    parser.add_argument("--count", type=int, default=1000, help="number of flips")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--session", type=Path, help="a computed session; it is copied and stays as it is")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file too")
    args = parser.parse_args()
    figures: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        session = computed_session(args.session, Path(folder))
        if "flips" in (args.only or KINDS):
            figures["flips"] = run_flips(session, args.count, args.seed)
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
