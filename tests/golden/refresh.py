"""Store the golden outputs of stages whose code version was raised: `python tests/golden/refresh.py NAME...`

It refuses while the version is the one of the stored outputs: see `tests/support/golden.py`.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from golden import refresh
from golden_stages import GOLDENS


def main(names: list[str]) -> int:
    """Refresh these; exit status 2 for an unknown name or a refusal."""
    known = {golden.name: golden for golden in GOLDENS}
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        print(f"usage: refresh.py NAME...: expected names out of {', '.join(known)}", file=sys.stderr)
        return 2
    for name in names:
        with tempfile.TemporaryDirectory() as work:
            try:
                path = refresh(known[name], Path(work))
            except ValueError as error:
                print(error, file=sys.stderr)
                return 2
        print(f"{path}: written, code version {known[name].code}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
