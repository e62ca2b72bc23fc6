"""Metadata of exported files: the card, and the facts that other programs need to use the file."""

from __future__ import annotations

import json
from collections.abc import Sequence

from blear.models.card import ModelCard
from blear.models.foreign import CARD, METADATA


def file_metadata(card: ModelCard, outputs: Sequence[str]) -> dict[str, str]:
    """Property -> text: `blear.card`, and the fields of `NetworkFacts` that the card has.

    The stored card has the further key `outputs`, the targets in the order of the outputs. ONNX files hold the
    properties as metadata, `torch.export` files as extra files of these names.
    """
    clip = card.clip
    facts = {
        "color": "grey" if clip.channels == 1 else "rgb",
        "size": f"{clip.height},{clip.width}",
        "range": "0,1",
    }
    if len(card.labels) == 1:
        (target,) = card.labels
        facts |= {"target": target, "labels": ",".join(card.labels[target]), "output": "probabilities"}
    if card.framing is not None:
        facts["framing"] = json.dumps(card.framing)
    own = json.dumps(card.model_dump(mode="json") | {"outputs": list(outputs)}, ensure_ascii=False)
    return {CARD: own} | {METADATA + key: value for key, value in facts.items()}
