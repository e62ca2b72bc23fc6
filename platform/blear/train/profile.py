"""Profiler trace of a range of steps (`profile_steps` of a stage)."""

from __future__ import annotations

from pathlib import Path

from torch.profiler import profile


class StepProfiler:
    """Records steps `steps[0]` to `steps[1]` (from 1) to a Chrome trace; None: records nothing."""

    def __init__(self, steps: tuple[int, int] | None, file: Path) -> None:
        self.steps, self.file = steps, file
        self._profile: profile | None = None

    def before(self, step: int) -> None:
        """Called before each step (from 1)."""
        if self.steps is not None and step == self.steps[0]:
            self._profile = profile()
            self._profile.start()

    def after(self, step: int) -> None:
        """Called after each step."""
        if self._profile is not None and self.steps is not None and step >= self.steps[1]:
            self.close()

    def close(self) -> None:
        """Writes the trace, if one is being recorded."""
        if self._profile is not None:
            running, self._profile = self._profile, None
            running.stop()
            running.export_chrome_trace(str(self.file))
