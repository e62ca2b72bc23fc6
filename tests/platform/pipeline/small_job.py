"""Changes that make a job of `jobs/` small enough for a test on Ray."""

from __future__ import annotations

SMALL = [
    "data.faces.stand_in.size=48",
    "data.faces.stand_in.subjects={train: 4, dev: 3}",
    "data.faces.stand_in.per_subject=16",
    "stages.hq.backbone={use: vlqr/cnn5x5, width: 0.0625, dropout: 0.0}",
    "stages.hq.batch_size=15",
    "stages.hq.steps=6",
    "stages.hq.log_every=1",
    "stages.hq.checkpoint_every=3",
    "evaluate.resamples=20",
]


def sets(*changes: str) -> list[str]:
    return [part for change in changes for part in ("--set", change)]
