"""A model without some of its heads, such as one that only helps the training of the others."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from blear.models.card import ModelCard


def card_of_heads(card: ModelCard, heads: Mapping[str, Collection[str]], kept: Collection[str]) -> ModelCard:
    """Returns the card of the model that has only some of the heads. It states no results.

    Args:
        card: card of a model with `heads`.
        heads: head -> the targets that it decodes.
        kept: names of the heads that stay. A single one becomes `head`, without the weight of its loss.
    """
    network = dict(card.network)
    entries: dict[str, Any] = {name: entry for name, entry in network.pop("heads").items() if name in kept}
    if len(entries) == 1:
        (entry,) = entries.values()
        network["head"] = {key: value for key, value in entry.items() if key != "weight"}
    else:
        network["heads"] = entries
    left_out = {target for name, targets in heads.items() if name not in kept for target in targets}
    return card.model_copy(
        update={
            "network": network,
            "targets": tuple(target for target in card.targets if target.name not in left_out),
            "temperatures": {name: value for name, value in card.temperatures.items() if name not in left_out},
            "calibration": {name: value for name, value in card.calibration.items() if name not in left_out},
            "metrics": [],
        }
    )


def weights_of_heads(state: Mapping[str, Any], kept: Collection[str]) -> dict[str, Any]:
    """Returns the weights of backbone and kept heads, with the names that they have in the model of `card_of_heads`."""
    found = {name: value for name, value in state.items() if not name.startswith("head.")}
    for head in kept:
        prefix = f"head.{head}."
        new = "head." if len(kept) == 1 else prefix
        found |= {new + name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    return found
