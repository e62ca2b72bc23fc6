"""FER2013 and FERPlus, and the head that names an emotion."""

from __future__ import annotations

from blear.contracts import Component
from blear.hooks import hookimpl
from blear_fer.params import EmotionParams, Fer2013Params, FerplusParams

PLUGIN_API = 1


@hookimpl
def register_datasets() -> list[Component]:
    """Readers of the raw layouts."""
    return [
        Component(
            "fer2013",
            "FER2013: 48 x 48 grey faces, seven emotions; csv, class folders or zip",
            Fer2013Params,
            "blear_fer.fer2013:Fer2013",
            examples=({"source": "fer2013.csv"},),
        ),
        Component(
            "ferplus",
            "FERPlus: FER2013's faces with eight classes from ten votes each",
            FerplusParams,
            "blear_fer.ferplus:Ferplus",
            examples=({"source": "fer2013.csv", "votes": "fer2013new.csv"},),
        ),
    ]


@hookimpl
def register_heads() -> list[Component]:
    """Classifiers."""
    return [
        Component(
            "emotion",
            "One linear layer on the embedding, logits averaged over the clip, cross-entropy",
            EmotionParams,
            "blear_fer.head:EmotionHead",
            examples=({}, {"label_smoothing": 0.1, "dropout": 0.5, "class_weights": "balanced"}),
        )
    ]
