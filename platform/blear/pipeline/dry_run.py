"""The dry run: checks before the first step that every stage can be trained and every arm evaluated."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from blear.contracts import ClipSpec
from blear.errors import BlearError, DataError, JobError
from blear.evaluate.sweep import levels
from blear.evaluate.transform import condition_chain, evaluation_transform
from blear.job.arm_stages import is_named
from blear.job.schema import Arm, Evaluate, Job
from blear.pipeline.data_facts import DataFacts
from blear.pipeline.stage_check import StageChecker, StageOutput, require_split
from blear.plugin.catalog import Catalog


class _Problems:
    """The problems of a job, each once."""

    def __init__(self) -> None:
        self.lines: dict[str, None] = {}  # a dict as an ordered set

    def attempt(self, where: str, call: Callable[[], object]) -> bool:
        """Calls a check; returns whether it passed."""
        try:
            call()
        except BlearError as error:
            self.lines.setdefault(str(error) if error.where.startswith(where) else f"{where}: {error}")
        except Exception as error:  # noqa: BLE001  a component may raise anything
            at = traceback.extract_tb(error.__traceback__)[-1]
            self.lines.setdefault(f"{where}: {type(error).__name__}: {error} ({at.filename}, line {at.lineno})")
        else:
            return True
        return False


def dry_run(
    job: Job,
    catalog: Catalog,
    facts: Mapping[str, DataFacts],
    *,
    distributed: bool = True,
    outputs: dict[str, StageOutput] | None = None,
) -> list[str]:
    """Checks everything that can be known before training.

    Each stage: split, batch size, `validate`, augmentations of smaller clean clips, degradations on a blank clip,
    initial weights, and one step of gradients of the model on a batch of the declared shape. The evaluation: splits,
    conditions, targets, classes, and the shape of each model on the evaluated data.

    Args:
        job: the resolved job.
        catalog: the loaded plugins.
        facts: name of data -> facts. Stages and conditions with other data are not checked.
        distributed: whether `cluster.workers` workers train; False: one worker.
        outputs: results of an earlier dry run of this job, which are not computed again; extended.

    Returns:
        Notes on what works, but may not be meant.

    Raises:
        JobError: lists every problem.
    """
    problems = _Problems()
    least, most = job.cluster.worker_range if distributed else (1, 1)
    checker = StageChecker(job, catalog, facts, least, most > 1, {} if outputs is None else outputs)
    usable = set()
    for name, stage in job.stages.items():
        if stage.data in facts:
            where = f"stages.{name}"
            chains = problems.attempt(where, partial(checker.check_chains, name))
            if chains:
                problems.attempt(where, partial(checker.check_clean, name))
            split = problems.attempt(where, partial(checker.check_split, name))
            if chains and problems.attempt(where, partial(checker.check_validation, name)) and split:
                usable |= {name} if problems.attempt(where, partial(checker.output, name)) else set()
    if job.evaluate is not None:
        for where, check in _split_checks(job, job.evaluate, facts):
            problems.attempt(where, check)
        if not problems.lines:
            conditions: list[tuple[str, Callable[[], object]]] = []
            problems.attempt(
                "evaluate.sweep", partial(conditions.extend, _conditions(job, job.evaluate, catalog, facts))
            )
            for where, check in conditions:
                problems.attempt(where, check)
        for label, arm in job.evaluate.arms.items():
            for name in sorted(usable):
                for role, template in (("stage", arm.stage), ("restore", arm.restore)):
                    if is_named(name, template):
                        where = f"evaluate.arms.{label}"
                        problems.attempt(where, partial(_check_arm, checker, job.evaluate, role, name))
        problems.attempt("evaluate.equivalence", partial(_check_equivalence, checker, job.evaluate, sorted(usable)))
        if usable.issuperset(_arm_stages(job, job.evaluate)):
            problems.attempt("evaluate.sweep", partial(_check_flips, checker, job, job.evaluate))
    if problems.lines:
        # a split or a target may be missing in the fallback dataset only
        notes = [data.fallback_note(name) for name, data in job.used_data.items() if data.uses_fallback]
        raise JobError("\n".join([*problems.lines, *notes]))
    return [*checker.notes, *_absent_classes(job, facts)]


def _absent_classes(job: Job, facts: Mapping[str, DataFacts]) -> Iterator[str]:
    """Iterates over notes on the classes that a split of the job does not have, once the data are prepared."""
    used: dict[tuple[str, str], None] = {}
    for stage in job.stages.values():
        if stage.data in facts and stage.steps:
            used[stage.data, stage.split or facts[stage.data].splits[0]] = None
            used |= {(stage.data, stage.validate_.split): None} if stage.validate_ is not None else {}
    if job.evaluate is not None:
        used |= {
            (job.evaluate.data or job.stages[name].data, job.evaluate.split): None
            for name in _arm_stages(job, job.evaluate)
        }
    for data, split in used:
        if data in facts:
            for target, counts in facts[data].class_counts.get(split, {}).items():
                classes = facts[data].targets[target].classes
                absent = [name for name, count in zip(classes, counts, strict=True) if not count]
                if absent:
                    yield f"data {data}: no sample of the split {split} has {target} {', '.join(absent)}"


def _arm_stages(job: Job, evaluate: Evaluate) -> list[str]:
    """The stages that arms evaluate."""
    return [name for name in job.stages if any(is_named(name, arm.stage) for arm in evaluate.arms.values())]


def _split_checks(
    job: Job, evaluate: Evaluate, facts: Mapping[str, DataFacts]
) -> Iterator[tuple[str, Callable[[], object]]]:
    """Iterates over (name, check) of each split that the evaluation or the search reads."""
    for data in {evaluate.data or job.stages[name].data: None for name in _arm_stages(job, evaluate)}:
        for key, split in (("split", evaluate.split), ("temperature", evaluate.temperature)):
            if split is not None and data in facts:
                yield "evaluate", partial(require_split, facts[data], split, f"evaluate.{key}")
    if job.search is not None and job.search.stage in job.stages:
        data = evaluate.data or job.stages[job.search.stage].data
        if data in facts:
            yield "search", partial(require_split, facts[data], job.search.split, "search.split")


def _check_arm(checker: StageChecker, evaluate: Evaluate, role: str, name: str) -> None:
    """Checks that the output of a stage can be evaluated on the arm's data, or restores frames.

    Raises:
        BlearError: it cannot.
    """
    output, stage = checker.output(name), checker.job.stages[name]
    if role == "restore":
        if not output.images:
            raise JobError(f"stage {name!r} returns no images", "", "name a restoration stage in `restore`")
        return
    if not output.metrics:
        raise JobError(f"stage {name!r} has no metric", "", "name a recognition stage")
    data = evaluate.data or stage.data
    if data not in checker.facts:
        return
    facts = checker.facts[data]
    missing = [target for target in output.metrics if target not in facts.targets]
    if len(missing) == len(output.metrics):
        raise DataError(f"the data {data!r} have no target {missing[0]!r}", "", "name other data in evaluate.data")
    if missing:
        checker.notes.append(f"stage {name}: not tested, since the data {data!r} lack them: {', '.join(missing)}")
    for target in output.metrics:
        given, classes = output.classes[target], facts.targets[target].classes if target in facts.targets else ()
        if given and classes and given != classes:
            what = f"stage {name!r} has the classes {', '.join(given)}, the data {', '.join(classes)}"
            raise DataError(what, "", "use data with these classes in this order")
    targets = checker.facts[stage.data].targets
    _, context = evaluation_transform(checker.job, name, checker.catalog, facts.clip, targets)
    if data == stage.data:
        return
    shapes = {key: value.shape for key, value in checker.model(name, context).state_dict().items()}
    different = [key for key, shape in shapes.items() if output.shapes.get(key) != shape]
    if different:
        what = f"stage {name!r} has other weights for the clips of {data!r}: {different[0]} is "
        what += f"{tuple(output.shapes.get(different[0], ()))} in training, {tuple(shapes[different[0]])} in evaluation"
        raise DataError(what, "", "resize the frames in the stage's augment, or evaluate on other data")


def _check_equivalence(checker: StageChecker, evaluate: Evaluate, usable: Sequence[str]) -> None:
    """Checks that the models of both arms have the target of each test of equivalence.

    Raises:
        JobError: a model lacks it; without this check the test would be left out.
    """
    for pair in evaluate.equivalence:
        for label in (pair.of, pair.against):
            for name in usable:
                known = checker.output(name).metrics
                if pair.target is not None and is_named(name, evaluate.arms[label].stage) and pair.target not in known:
                    what = f"stage {name!r} of the arm {label!r} has no target {pair.target!r}"
                    raise JobError(what, "evaluate.equivalence", f"choose one of: {', '.join(known)}")


def _check_flips(checker: StageChecker, job: Job, evaluate: Evaluate) -> None:
    """Checks that a target of the arms has classes where a sweep asks for flip rates.

    Raises:
        JobError: all are regression targets.
    """
    conditions = [condition for condition, sweep in evaluate.sweeps.items() if "flips" in sweep.group]
    outputs = [checker.output(name) for name in _arm_stages(job, evaluate)]
    if conditions and not any(output.classes[target] for output in outputs for target in output.metrics):
        what = f"flip rates (of {', '.join(conditions)}) need a target with classes, and no arm has one"
        raise JobError(what, "", "leave `flips` out of the sweep's `group`")


def _conditions(
    job: Job, evaluate: Evaluate, catalog: Catalog, facts: Mapping[str, DataFacts]
) -> Iterator[tuple[str, Callable[[], object]]]:
    """Iterates over (name, check) of each condition, once for each shape of clips that an arm is evaluated on."""
    seen: set[ClipSpec | None] = set()
    tested: list[Arm] = [arm for arm in evaluate.arms.values() if not arm.clean]
    for name, stage in job.stages.items():
        data = evaluate.data or stage.data
        if data not in facts or not any(is_named(name, arm.stage) for arm in tested):
            continue
        targets = facts.get(stage.data, facts[data]).targets
        _, context = evaluation_transform(job, name, catalog, facts[data].clip, targets)
        if evaluate.windows is not None and context.clip is not None:
            context = replace(context, clip=replace(context.clip, length=evaluate.windows.length))
        if context.clip in seen:
            continue
        seen.add(context.clip)
        for level in levels(evaluate, catalog, context):
            where = f"evaluate.sweep ({level.condition}, {level.parameter} {level.severity:g})"
            yield where, partial(condition_chain, evaluate, level, catalog, context)
