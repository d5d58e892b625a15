"""`python -m handpipe`: the command line."""

# Ring 2: reads and writes.

from __future__ import annotations

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
