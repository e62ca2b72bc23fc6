"""What Ray Tune runs: one trial, a plain function on one worker (or the driver of several)."""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from blear.job.schema import Search
from blear.search.lineage import Lineage, extended, scheduled
from blear.search.objective import Curve, Judge
from blear.search.point import Ground, curve_at, train_point
from blear.search.space import values
from blear.storage.run_folder import RunFolder, write_text
from blear.train.checkpoint import checkpoint_path

_WAIT_S = 600.0


def trial(config: Mapping[str, Any], *, ground: Ground, search: Search, judge: Judge) -> None:
    """Trains and tests one point; reports objectives, step and curve to Tune.

    Of a population, a trial may begin with the checkpoint of another one: it then goes on from its step and lineage.
    """
    from ray import tune

    name = tune.get_context().get_trial_id()
    run = RunFolder(ground.root / "trials" / name)
    changes = values(search.space, config)
    run.root.mkdir(parents=True, exist_ok=True)
    with (run.root / "output.log").open("a") as output, contextlib.redirect_stderr(output):
        if search.algorithm == "pbt":
            lineage = _inherit(run, changes, search)
            job = ground.job({}, name)
            changes = scheduled(lineage, job.stages[ground.stage].steps)
        if search.report_every is not None:
            changes |= {f"stages.{ground.stage}.checkpoint_every": search.report_every}
        job = ground.job(changes, name)
        looks = search.scheduler != "none" or search.algorithm == "pbt"

        def look(step: int, curve: Curve) -> None:
            _await_checkpoint(run, ground, step)  # a trial that is paused, or copied, goes on from it
            if search.algorithm != "pbt":
                tune.report(_told(judge, curve, step, search))
                return
            with _packed(run, step) as folder:
                tune.report(_told(judge, curve, step, search), checkpoint=tune.Checkpoint.from_directory(str(folder)))

        train_point(ground, job, run, look if looks else None)
        if not looks:
            tune.report(_told(judge, curve_at(ground, job, run), job.stages[ground.stage].steps, search))


def _told(judge: Judge, curve: Curve, step: int, search: Search) -> dict[str, Any]:
    points = [[condition, severity, value] for (condition, severity), value in curve.items()]
    look = math.ceil(step / (search.report_every or step))
    return {**judge(curve), "step": step, "look": look, "curve": json.dumps(points)}


def _inherit(run: RunFolder, changes: dict[str, Any], search: Search) -> Lineage:
    """Takes the checkpoint that Tune gives, perhaps another trial's, in the place of what is here; and its lineage."""
    from ray import tune

    given = tune.get_checkpoint()
    if given is None:
        shutil.rmtree(run.root / "stages", ignore_errors=True)
        lineage: Lineage = [(0, changes)]
    else:
        with given.as_directory() as folder:
            shutil.rmtree(run.root / "stages", ignore_errors=True)
            shutil.copytree(Path(folder) / "stages", run.root / "stages")
            kept = json.loads((Path(folder) / "lineage.json").read_text())
        lineage = extended([(step, held) for step, held in kept["lineage"]], kept["step"], changes)
    write_text(run.root / "lineage.json", json.dumps(lineage))
    return lineage


def _await_checkpoint(run: RunFolder, ground: Ground, step: int) -> None:
    """Until a thread has written it."""
    newest, until = checkpoint_path(run.stage(ground.stage) / "checkpoints", step), time.monotonic() + _WAIT_S
    while not (newest / "state.json").is_file() and time.monotonic() < until:
        time.sleep(0.01)


@contextlib.contextmanager
def _packed(run: RunFolder, step: int) -> Iterator[Path]:
    """A folder with all stages, the newest checkpoint and the lineage: what another trial needs to go on from here."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        ignore = shutil.ignore_patterns("tensorboard", ".*")
        shutil.copytree(run.root / "stages", folder / "stages", ignore=ignore)
        lineage = json.loads((run.root / "lineage.json").read_text())
        (folder / "lineage.json").write_text(json.dumps({"lineage": lineage, "step": step}))
        yield folder
