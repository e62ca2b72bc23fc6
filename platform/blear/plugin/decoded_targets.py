"""The targets that a head decodes, and the metrics of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from blear.contracts import Categories, Decoded, Images, Metric, Target, Values
from blear.metrics import CLASSIFICATION, DISTRIBUTION, REGRESSION


def target_metrics(
    head: Any, decoded: Mapping[str, Decoded], targets: Mapping[str, Target]
) -> dict[str, tuple[Metric, ...]]:
    """Returns decoded target -> its metrics, the headline metric first; targets without a metric are left out.

    If `head.metrics()` is a mapping, it gives the metrics of the targets that it names. If it is a sequence, it gives
    those of the first decoded target and of all others of the same kind. Every other target has the metrics of its kind
    from `blear.metrics`. Images have none, and a head with an empty sequence has none at all.

    Args:
        head: a `contracts.Head`.
        decoded: what the head decoded from any outputs.
        targets: the targets of the data, which distinguish classes from distributions.
    """
    given = head.metrics()
    named: Mapping[str, Sequence[Metric]] = given if isinstance(given, Mapping) else {}
    if not isinstance(given, Mapping):
        if not given:
            return {}
        first, *others = decoded
        kind = _kind(first, decoded, targets)
        named = {name: given for name in (first, *others) if _kind(name, decoded, targets) == kind}
    found = {
        name: tuple(named.get(name, _DEFAULTS[_kind(name, decoded, targets)]))
        for name, value in decoded.items()
        if not isinstance(value, Images)
    }
    return {name: metrics for name, metrics in found.items() if metrics}


def find_metric(metrics: Mapping[str, Sequence[Metric]], name: str) -> tuple[str, Metric] | None:
    """Returns the target and the metric of a name; None where there is none.

    Args:
        metrics: target -> its metrics, from `target_metrics`.
        name: `target.metric`, or `metric` of the first target that has such a metric.
    """
    pairs = [(target, metric) for target, of_target in metrics.items() for metric in of_target]
    full = next((pair for pair in pairs if f"{pair[0]}.{pair[1].name}" == name), None)
    return full or next((pair for pair in pairs if pair[1].name == name), None)


def metric_names(metrics: Mapping[str, Sequence[Metric]]) -> list[str]:
    """Returns the names that `find_metric` finds, for messages: with the target if there are several targets."""
    several = len(metrics) > 1
    return [f"{target}.{m.name}" if several else m.name for target, of_target in metrics.items() for m in of_target]


_DEFAULTS: Mapping[str, Sequence[Metric]] = {
    "class": CLASSIFICATION,
    "value": REGRESSION,
    "distribution": DISTRIBUTION,
    "images": (),
}


def _kind(name: str, decoded: Mapping[str, Decoded], targets: Mapping[str, Target]) -> str:
    value = decoded[name]
    if isinstance(value, Categories):
        return "distribution" if name in targets and targets[name].kind == "distribution" else "class"
    return "value" if isinstance(value, Values) else "images"
