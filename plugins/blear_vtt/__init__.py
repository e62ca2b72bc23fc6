"""VTT: emotion timelines of TV video by ResNet-18 with a causal temporal shift (Choi et al., Video Turing Test, 2019).

Readers of AffectNet, RAF, Friends, AnotherMissOh and CK+, the network with and without the shift, the two-part head.
"""

from __future__ import annotations

from blear.contracts import Component
from blear.hooks import hookimpl
from blear_vtt.datasets.params import (
    AffectNetParams,
    AnotherMissOhParams,
    CkPlusParams,
    FriendsParams,
    RafParams,
    StillsParams,
)
from blear_vtt.params import ResNet18Params, TwoPartParams

PLUGIN_API = 1


@hookimpl
def register_datasets() -> list[Component]:
    """Readers of the raw files. All have the class target `emotion` and the soft labels `emotion.<class>`."""
    return [
        Component(
            "affectnet",
            "AffectNet: web faces of seven emotions, either release",
            AffectNetParams,
            "blear_vtt.datasets.still_datasets:AffectNetFaces",
            examples=({"source": "data/affectnet"}, {"source": "data/affectnet", "room": 1.3, "pool_splits": True}),
        ),
        Component(
            "raf",
            "RAF-DB's three packages with soft labels: basic, compound, multi",
            RafParams,
            "blear_vtt.datasets.still_datasets:RafFaces",
            examples=({"source": "data/raf"}, {"source": "data/raf", "packages": ["basic"]}),
        ),
        Component(
            "stills",
            "AffectNet and RAF as one; `draw` can mix them by their source",
            StillsParams,
            "blear_vtt.datasets.still_datasets:BothFaces",
            examples=({"source": "data"}, {"source": "data", "raf": "data/RAF-DB"}),
        ),
        Component(
            "friends",
            "VTT Friends: clips of four frames around each labelled face, split by episode",
            FriendsParams,
            "blear_vtt.datasets.friends:Friends",
            examples=(
                {"source": "data/friends"},
                {"source": "data/friends", "margin": 0.3, "window": [0]},
                {"source": "data/friends", "margin": 0.3, "index": "data/dicts/friends_parsed_new.npy"},
            ),
        ),
        Component(
            "another_missoh",
            "AnotherMissOh, the series after Friends: its labelled faces as stills, split by episode",
            AnotherMissOhParams,
            "blear_vtt.datasets.another_missoh:AnotherMissOh",
            examples=({"source": "data/anothermissoh"},),
        ),
        Component(
            "ckplus",
            "CK+: first and last frames of posed sequences, in folds of subjects",
            CkPlusParams,
            "blear_vtt.datasets.ckplus:CkPlus",
            examples=({"source": "data/ckplus"}, {"source": "data/ckplus", "contempt": True, "fold": 9}),
        ),
    ]


@hookimpl
def register_backbones() -> list[Component]:
    """`vtt/resnet18`. Its parameter names are the same with and without the shift."""
    return [
        Component(
            "resnet18",
            "ResNet-18 from scratch, on each frame or with a temporal shift",
            ResNet18Params,
            "blear_vtt.resnet18:ResNet18",
            examples=(
                {},
                {"width": 0.125, "shift": "causal_stage", "classes": 7},
                {"width": 0.125, "shift": "residual_bidirectional"},
            ),
            rename_tables={"vtt_checkpoint": {"*": "*"}},
        )
    ]


@hookimpl
def register_heads() -> list[Component]:
    """`vtt/two_part`."""
    return [
        Component(
            "two_part",
            "Logits of every frame; one loss for neutral or not, one for the emotion; the last frames decide",
            TwoPartParams,
            "blear_vtt.two_part:TwoPart",
            examples=({}, {"version": "aug2019", "last": 1}),
        )
    ]
