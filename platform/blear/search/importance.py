"""Importance of the dimensions of a search space: PED-ANOVA of Optuna over the finished trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from blear.job.schema import Dimension

_MIN_TRIALS = 8


def importance(
    space: Mapping[str, Dimension], drawn: Sequence[Mapping[str, Any]], objectives: Sequence[float]
) -> dict[str, float]:
    """The share of the objective's variance that each dimension explains alone (Watanabe et al., IJCAI 2023).

    Args:
        drawn: the values that Tune drew for each trial (see `space.tune_space`).
        objectives: the first objective of each trial.

    Returns:
        Dimension -> share in [0, 1], largest first; of a mixture, the sum over its keys. Empty where there are fewer
        than 8 trials or all objectives are equal.
    """
    import optuna

    if len(drawn) < _MIN_TRIALS or len(set(objectives)) < 2:
        return {}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize")
    names = list(drawn[0])
    for config, value in zip(drawn, objectives, strict=True):
        distributions = {name: _distribution(space, name, drawn) for name in names}
        study.add_trial(optuna.trial.create_trial(params=dict(config), distributions=distributions, value=value))
    by_name = optuna.importance.get_param_importances(study, evaluator=optuna.importance.PedAnovaImportanceEvaluator())
    shares: dict[str, float] = {}
    for name, share in by_name.items():
        dimension = name.split("|")[0]
        shares[dimension] = shares.get(dimension, 0.0) + float(share)
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def _distribution(space: Mapping[str, Dimension], name: str, drawn: Sequence[Mapping[str, Any]]) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    dimension = space[name.split("|")[0]]
    if dimension.simplex is not None:
        return FloatDistribution(0.0, 1.0)
    if dimension.range is not None:
        return FloatDistribution(*dimension.range)
    if dimension.log is not None:
        return FloatDistribution(*dimension.log, log=True)
    if dimension.integer is not None:
        return IntDistribution(*dimension.integer)
    return CategoricalDistribution(dimension.choice or [])
