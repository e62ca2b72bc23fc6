"""The process of the `blear` command; also `python -m blear`."""

from __future__ import annotations

from blear import cli
from blear.models.time_limit import leave_process


def main() -> None:
    """Entry point of the `blear` command: `blear.cli.main`, then the end of the process.

    A computation that cannot be stopped does not delay the end. Code that calls `blear.cli.main` keeps its process.
    """
    try:
        cli.main()
    except SystemExit as end:
        leave_process(int(end.code or 0) if isinstance(end.code, int | None) else 1)
        raise
    leave_process(0)


if __name__ == "__main__":
    main()
