"""`python -m blear` is the command `blear`."""

from __future__ import annotations

from blear.cli import main

if __name__ == "__main__":
    main()
