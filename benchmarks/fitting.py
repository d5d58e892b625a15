"""MANO fitting: speed and error against smplx with PyTorch's optimisers, accuracy, the default session, clasped hands.

    python benchmarks/fitting.py [--only speed exact noise session clasped] [--session DIR] [--json FILE]

The part `session` needs a folder in which `handpipe run capture-session` has been run: give it with --session.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

from _fitting_accuracy import exact, noise, session
from _fitting_clasped import clasped
from _fitting_speed import speed
from _report import Figure, report

from handpipe.core.engine import limit_threads

PARTS: Mapping[str, Callable[[], list[Figure]]] = {"speed": speed, "exact": exact, "noise": noise, "clasped": clasped}
"""Those that need nothing but themselves."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[*PARTS, "session"], help="parts to run; all by default")
    parser.add_argument("--session", type=Path, help="folder of a session with truth whose keypoints are computed")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    limit_threads()
    only = options.only or [*PARTS, *(["session"] if options.session else [])]
    if "session" in only and options.session is None:
        parser.error("the part `session` needs --session DIR: a folder where `handpipe run capture-session` has run")
    rows = [row for part in only for row in (session(options.session) if part == "session" else PARTS[part]())]
    report("MANO fitting", rows, options.json)


if __name__ == "__main__":
    main()
