"""Opens the run folder of a job: what trained stages depend on must be the same, the rest of the job may change."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML, YAMLError

from blear.errors import RunError, first_line
from blear.job.reader import dump_job
from blear.job.schema import Job
from blear.storage.run_folder import RunFolder, write_text
from blear.train.checkpoint import list_checkpoints
from blear.train.plan import seed_runs

_FREE_OF_SEARCH = ("cluster", "trackers", "description", "profiles")
_SHOWN = 12
_WIDTH = 60
_MISSING = object()


def open_run(job: Job, root: Path, *, fresh: bool) -> RunFolder:
    """Creates the run folder of a job, or opens the folder of an earlier run of the same name.

    Args:
        root: the run folder.
        fresh: whether an earlier run is deleted first.

    Raises:
        RunError: a stage that is trained, or partly trained, depends on a value that the job changes; or `fresh` and
            the folder is not a run folder.
    """
    run = RunFolder.start(root, fresh=fresh)
    file = root / "job.yaml"
    if not fresh and file.is_file() and file.read_text() != dump_job(job):
        _check_changes(run, file, job)
    write_text(file, dump_job(job))
    return run


def _check_changes(run: RunFolder, file: Path, job: Job) -> None:
    own = "--set name=OTHER for a new run, or --fresh to delete this one"
    try:
        before = Job.model_validate(YAML(typ="safe", pure=True).load(file.read_text()))
    except (YAMLError, ValidationError) as error:
        what = f"the job of this run cannot be read: {first_line(error)}"
        raise RunError(what, str(file), own) from error
    changes = list(_locked_changes(run, before, job))
    if not changes:
        return
    listed = "".join(
        f"\n    {path}: the run has {_short(old)}, this job {_short(new)}" for path, old, new in changes[:_SHOWN]
    )
    listed += f"\n    and {len(changes) - _SHOWN} more" if len(changes) > _SHOWN else ""
    stages = [name for name in before.stages if _started(run, before, name)]
    do = f"give the values of the run; {own}"
    if before.search is None and job.search is None:
        folders = ", ".join(f"{'seeds/*/' if before.seeds else ''}stages/{name}" for name in stages)
        do += f"; or delete the folders of the stages to train again (trained: {folders})"
    raise RunError(f"trained stages depend on values that this job changes:{listed}", str(run.root), do)


def _locked_changes(run: RunFolder, before: Job, job: Job) -> Iterator[tuple[str, Any, Any]]:
    """Iterates over (path, value of the run, value of the job) of each change that is not permitted."""
    old, new = (each.model_dump(mode="json", by_alias=True) for each in (before, job))
    if before.search is not None or job.search is not None:  # every trial depends on the whole job
        for values in (old, new):
            for key in _FREE_OF_SEARCH:
                values.pop(key)
        yield from _differences("", old, new)
        return
    trained = _with_sources(before, [name for name in before.stages if _started(run, before, name)])
    paths: dict[tuple[str, ...], None] = {("seed",): None} if trained else {}
    if trained and (before.seeds is None) != (job.seeds is None):  # seeds of a list can be added and removed
        paths["seeds",] = None
    for name in trained:
        stage = before.stages[name]  # validation selects the weights of `keep: best` and the end of `patience`
        paths |= {("stages", name): None, ("data", stage.data): None, ("data", stage.validation_data): None}
    for path in paths:
        yield from _differences(".".join(path), _value_at(old, path), _value_at(new, path))


def _value_at(section: Any, path: tuple[str, ...]) -> Any:
    """The value at a path of nested dictionaries; `_MISSING` if there is none."""
    for key in path:
        section = section.get(key, _MISSING) if isinstance(section, dict) else _MISSING
    return section


def _started(run: RunFolder, job: Job, name: str) -> bool:
    """Whether a stage is trained, or has a checkpoint, with any seed of the job."""
    return any(
        own.stage_done(name) or bool(list_checkpoints(own.stage(name) / "checkpoints"))
        for _, own in seed_runs(job, run).values()
    )


def _with_sources(job: Job, names: list[str]) -> list[str]:
    """The stages and all stages whose weights they read."""
    found: dict[str, None] = {}
    while names:
        name = names.pop()
        found[name] = None
        names += job.stages[name].source_stages
    return [name for name in job.stages if name in found]


def _differences(path: str, old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            yield from _differences(f"{path}.{key}" if path else key, old.get(key, _MISSING), new.get(key, _MISSING))
    elif isinstance(old, list) and isinstance(new, list) and any(isinstance(entry, dict) for entry in old + new):
        for number, entries in enumerate(itertools.zip_longest(old, new, fillvalue=_MISSING)):
            yield from _differences(f"{path}.{number}", *entries)
    elif old != new:
        yield path, old, new


def _short(value: Any) -> str:
    """Formats a value for a message."""
    if value is _MISSING:
        return "nothing"
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 3]}..."
