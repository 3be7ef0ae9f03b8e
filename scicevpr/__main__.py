"""`python -m scicevpr` is the `scicevpr` command."""

from __future__ import annotations

import sys

from scicevpr.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
