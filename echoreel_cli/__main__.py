"""`python -m echoreel_cli` is the same as the command `echoreel`."""

from __future__ import annotations

import sys

from echoreel_cli.app import main

if __name__ == "__main__":
    sys.exit(main())
