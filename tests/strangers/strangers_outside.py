"""Runs commands in an environment outside the repository."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Outside:
    """A working folder and the environment variables of a virtual environment that extends that of the tests."""

    folder: Path
    environment: dict[str, str]

    def __call__(self, *command: str | Path, code: int = 0, **variables: str) -> str:
        """Runs a command in the folder; returns stdout, then stderr. The exit code must be `code`."""
        words = list(map(str, command))
        done = subprocess.run(
            words,
            cwd=self.folder,
            env=self.environment | variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=280,
        )
        assert done.returncode == code, f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr
