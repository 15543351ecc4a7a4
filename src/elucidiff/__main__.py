"""``python -m elucidiff VERB ...``, which is how launchers such as torchrun start it."""

from __future__ import annotations

import sys

from elucidiff.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
