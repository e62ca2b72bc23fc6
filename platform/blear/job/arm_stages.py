"""The stages that arms name, and the arms of the evaluation after a search."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from blear.job.schema import Arm, Evaluate, Search

BEST = "best"
"""Label of the best trial of a search."""
_REPLACED = re.compile(r"\{[^{}]*\}")


def is_named(stage: str, template: str | None) -> bool:
    """Whether a stage is named by an arm, or belongs to its family of experts, such as `expert_{factor}`."""
    if template is None:
        return False
    return re.fullmatch(".+".join(map(re.escape, _REPLACED.split(template))), stage) is not None


def evaluated_stages(evaluate: Evaluate, stages: Iterable[str]) -> list[str]:
    """Returns the stages whose models arms run, restoration included."""
    templates = {template for arm in evaluate.arms.values() for template in (arm.stage, arm.restore)}
    return [name for name in stages if any(is_named(name, template) for template in templates)]


def final_evaluation(evaluate: Evaluate, search: Search, stages: Mapping[str, str]) -> Evaluate:
    """Returns the evaluation after a search: of the baselines, the best trial, and the job's other arms.

    The best trial replaces the arms of the searched stage, also in `equivalence` and `mce`. Those on clean or restored
    frames keep their labels, with the stage of the best trial.

    Args:
        stages: label of each baseline, and `BEST` -> name of its stage.

    Raises:
        ValueError: an arm that remains has the label of a baseline or of the best trial.
    """
    arms = {
        label: Arm(stage=stage, note="the best trial of the search" if label == BEST else "a baseline, not searched")
        for label, stage in stages.items()
    }
    replaced = {
        label
        for label, arm in evaluate.arms.items()
        if arm.stage == search.stage and not arm.clean and arm.restore is None
    }
    for label in [label for label in evaluate.arms if label not in replaced]:
        if label in arms:
            raise ValueError(f"the arm {label!r} has the label of a baseline or of the best trial; rename it")
        arm = evaluate.arms[label]
        arms[label] = arm.model_copy(update={"stage": stages[BEST]}) if arm.stage == search.stage else arm

    def renamed(label: str) -> str:
        return BEST if label in replaced and label not in stages else label

    pairs = [p.model_copy(update={"of": renamed(p.of), "against": renamed(p.against)}) for p in evaluate.equivalence]
    changes = {
        "arms": arms,
        "equivalence": [pair for pair in pairs if pair.of != pair.against],
        "mce": renamed(evaluate.mce) if isinstance(evaluate.mce, str) else evaluate.mce,
    }
    given = evaluate.model_dump(by_alias=True, exclude_defaults=True)
    return Evaluate.model_validate(given | changes)
