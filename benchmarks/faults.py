"""Faults planted in what a session has computed, and in runs that compute it: is anything wrong without a word?

    python benchmarks/faults.py --count 5 --session SESSION
    python benchmarks/faults.py --only "chunk deleted" --only "client killed (SIGKILL)" --count 20
    python benchmarks/faults.py --only flips --flips 1000

Each fault is followed by one more `handpipe run`. `same`: it gives the same bits. `sentence`: it says in one sentence
what is wrong. `verify`: it does not read what is damaged, `handpipe verify` finds it, and `--repair` gives the same
bits. Nothing may be silently wrong, end in a traceback or never end.

`flips`: single bits in the files of the session's store, chunks, marks and metadata alike. Each must be found by
`handpipe verify`, and what is read afterwards must be what was written, or an error.

Without `--session`, a tiny session is computed first in a scratch folder. Mounting file systems takes root.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from _integrity_clusters import CLUSTERS
from _integrity_damage import DAMAGE, Harm
from _integrity_flips import Flip, flips, table
from _integrity_processes import PROCESSES, Fault
from _integrity_runs import OPTIONS, Outcome, Sessions, contents, load

TINY = "--views 5 --frames 6 --fps 5 --board-frames 30 --width 320 --height 256 --workers 1"
OUTCOMES = ("same", "sentence", "verify", "silent", "traceback", "endless")


def computed_session(given: Path | None, scratch: Path) -> Path:
    """A copy of a computed session that may be damaged."""
    if given is not None:
        return Path(shutil.copytree(given, scratch / given.name))
    for command in (["synthesize", "tiny", *TINY.split()], ["run", "tiny", *OPTIONS]):
        subprocess.run([sys.executable, "-m", "handpipe", *command], cwd=scratch, check=True)
    return scratch / "tiny"


def damaged(harm: Harm) -> Fault:
    """Damage to a finished store, as a fault."""

    def fault(sessions: Sessions, name: str, rng: random.Random) -> tuple[Outcome, str]:
        session = sessions.copy(name, "computed")
        what = harm(session / "session.zarr", rng)
        outcome, words = sessions.judge(session)
        return outcome, f"{what}: {words}"

    return fault


FAULTS: dict[str, Fault] = {**{name: damaged(harm) for name, harm in DAMAGE.items()}, **PROCESSES, **CLUSTERS}
KINDS = (*FAULTS, "flips")


def run_faults(sessions: Sessions, kinds: Sequence[str], count: int, seed: int) -> dict[str, object]:
    """Each kind as often as asked; print what came of it."""
    figures: dict[str, object] = {}
    totals = Counter[str]()
    print(f"{'kind':36}{'injected':>9}" + "".join(f"{name:>10}" for name in OUTCOMES))
    for kind in kinds:
        found, bad, start = Counter[str](), [], time.monotonic()
        for n in range(count):
            outcome, words = FAULTS[kind](sessions, "fault", random.Random(f"{seed} {kind} {n}"))
            found[outcome] += 1
            if outcome in ("silent", "traceback", "endless"):
                bad.append({"number": n, "outcome": outcome, "words": words})
                print(f"{kind} {n}: {outcome}: {words}", file=sys.stderr)
        totals += found
        print(f"{kind:36}{count:>9}" + "".join(f"{found[name] or '':>10}" for name in OUTCOMES), flush=True)
        seconds = round(time.monotonic() - start, 1)
        figures[kind] = {"injected": count, **found, "seconds": seconds, "bad": bad}
    print(f"{'all':36}{totals.total():>9}" + "".join(f"{totals[name]:>10}" for name in OUTCOMES))
    return figures | {"all": {"kinds": len(kinds), "injected": totals.total(), **totals}}


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
    parser.add_argument("--count", type=int, default=2, help="faults of each kind")
    parser.add_argument("--flips", type=int, default=1000, help="number of flips")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--session", type=Path, help="a computed session; it is copied and stays as it is")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file too")
    args = parser.parse_args()
    figures: dict[str, object] = {}
    kinds = args.only or KINDS
    with tempfile.TemporaryDirectory() as folder:
        session = computed_session(args.session, Path(folder))
        if faults := [kind for kind in kinds if kind in FAULTS]:
            load()
            sessions = Sessions(session, contents(session / "session.zarr"), Path(folder))
            figures |= run_faults(sessions, faults, args.count, args.seed)
        if "flips" in kinds:
            figures["flips"] = run_flips(session, args.flips, args.seed)
        if args.json:
            args.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
