"""Checks of a valid job that concern several of its sections."""

from __future__ import annotations

import re
from typing import Any

from blear.job.arm_stages import BEST, final_evaluation
from blear.job.document import Document, Where
from blear.job.leakage import selected_on_reported_split, trained_on_reported_split
from blear.job.schema import Arm, Evaluate, Job, Search
from blear.plugin.severity import severity_of

_LONGEST = 200  # bytes of a stage's name


def check_sections(document: Document, job: Job) -> None:
    """Adds a problem to the document for each pair of sections that do not fit together."""
    if job.evaluate is not None and not job.evaluate.shares_validation:
        for name in selected_on_reported_split(job):
            what = f"the weights of stage {name!r} are selected on {job.evaluate.split!r}, the split that `evaluate` "
            what += "reports on; validate on another split, or set evaluate.shares_validation: true (the report then "
            document.problem(("stages", name, "validate"), what + "shows a warning)")
    if job.evaluate is not None:
        for name in trained_on_reported_split(job):
            what = f"stage {name!r} is trained on {job.evaluate.split!r}, the split that `evaluate` reports on"
            document.problem(("stages", name, "split"), what)
    if job.evaluate is not None and job.evaluate.data is None:
        _check_evaluated_data(document, job, job.evaluate)
    if job.search is not None:
        _check_search(document, job, job.search)
    for name, stage in job.stages.items():
        if not _is_folder(name):
            what = "is the name of the stage's folder: no `/` and no control character, no `.` first, 200 bytes at most"
            document.problem(("stages", name), what)
        if stage.auxiliary_norm and job.cluster.compile:
            what = "cannot be compiled; set cluster.compile: false"
            document.problem(("stages", name, "auxiliary_norm"), what)
        if stage.teacher is not None and stage.teacher.features and job.cluster.compile:
            what = "features of a compiled model cannot be recorded; set cluster.compile: false"
            document.problem(("stages", name, "teacher", "features"), what)


def _is_folder(name: str) -> bool:
    """Whether a name can be that of one folder, which is not hidden."""
    return bool(re.fullmatch(r"[^./\x00-\x1f][^/\x00-\x1f]*", name)) and len(name.encode()) <= _LONGEST


def _check_evaluated_data(document: Document, job: Job, evaluate: Evaluate) -> None:
    """Adds a problem if the stages of the arms have different data: arms are compared on the same samples.

    Levels that the job leaves to the degradation are not known here; the evaluation checks their stages.
    """
    found: dict[str, str] = {}
    for label, arm in evaluate.arms.items():
        for stage in _stages_of(job, evaluate, arm):
            found.setdefault(job.stages[stage].data, f"arm {label!r} (stage {stage!r}) has {job.stages[stage].data!r}")
    if len(found) > 1:
        what = f"the arms have different data, but are compared on the same samples: {', '.join(found.values())}; "
        do = "set evaluate.data to the data that all of them are tested on, and none is trained on (each fold of a "
        document.problem(("evaluate",), f"{what}{do}cross-validation is a run of its own)")


def _stages_of(job: Job, evaluate: Evaluate, arm: Arm) -> list[str]:
    """Returns the stages of an arm that exist: the stage itself, or that of each level of a template."""
    names = {arm.stage}
    for condition, sweep in evaluate.sweeps.items():
        for parameter, values in (sweep.over or {}).items():
            for value in map(severity_of, values):
                shown = str(int(value) if value == int(value) else value)
                names.add(arm.stage.replace(f"{{{parameter}}}", shown).replace("{condition}", condition))
    return [name for name in job.stages if name in names]


def _check_search(document: Document, job: Job, search: Search) -> None:
    where = ("search",)
    if search.stage not in job.stages:
        document.problem((*where, "stage"), f"there is no stage {search.stage!r}; known: {', '.join(job.stages)}")
    if job.evaluate is None:
        document.problem(where, "a search needs the levels of `evaluate`; add that section")
    elif job.evaluate.split == search.split:
        document.problem(
            (*where, "split"), f"evaluate reports on {search.split!r}; a search must choose on another split"
        )
    if job.cluster.worker_range != (1, 1):
        needs = "needs trials with one worker; set cluster.workers: 1"
        if search.algorithm == "pbt":
            document.problem((*where, "algorithm"), f"pbt {needs}")
        if search.scheduler != "none":
            document.problem((*where, "scheduler"), f"a scheduler {needs}")
        if search.gpus:
            what = "several workers of a trial each reserve a GPU (cluster.gpu); leave gpus out"
            document.problem((*where, "gpus"), what)
    paths: dict[Where, str] = {(*where, "space", path): path for path in search.space}
    paths |= {(*where, "baselines", label, path): path for label, held in search.baselines.items() for path in held}
    for place, path in paths.items():
        matched = document.matches(path)
        if not matched:
            document.problem(place, "this path does not exist in the job")
        if any(map(_changes_shards, matched)):
            what = (
                "trials read shards that are prepared once, so all would have the same data; run a job for each value"
            )
            document.problem(place, what)
        others = [name for name in _values(search, place) if isinstance(name, str) and name not in job.used_data]
        if others and any(map(_names_data, matched)):
            what = f"the data {others[0]!r} are not prepared, since no stage of the job has them"
            document.problem(place, f"{what}; choose from: {', '.join(job.used_data)}")
    if job.evaluate is not None and search.stage in job.stages:
        try:
            final_evaluation(job.evaluate, search, dict.fromkeys([*search.baselines, BEST], search.stage))
        except ValueError as error:
            document.problem(("evaluate", "arms"), str(error))


def _changes_shards(where: Where) -> bool:
    """Whether a value belongs to the prepared shards. What replaces missing data has values that training reads."""
    training = where[2:3] == ("stand_in",) and where[3:4] in (("draw",), ("augment",), ("degrade",))
    return where[0] == "data" and not training


def _names_data(where: Where) -> bool:
    """Whether a value is the name of the data of a stage or of the evaluation."""
    of_stage = where[0] == "stages" and where[2:] in (("data",), ("validate", "data"))
    return of_stage or where == ("evaluate", "data")


def _values(search: Search, place: Where) -> list[Any]:
    """Returns the values of a path of the search space or of a baseline."""
    if place[1] == "space":
        return search.space[str(place[2])].choice or []
    return [search.baselines[str(place[2])][str(place[3])]]
