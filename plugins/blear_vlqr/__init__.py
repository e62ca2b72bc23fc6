"""VLQR: valence and arousal from very low quality face video (Cheng et al. 2017, arXiv 1709.03126).

Readers of AVEC 2016 and T91/Set5, the recogniser CNN+D, the super-resolution network for pre-training, and their heads.
"""

from __future__ import annotations

from blear.contracts import Component
from blear.hooks import hookimpl
from blear_vlqr.params import (
    Avec2016Params,
    Cnn5x5Params,
    RegressionParams,
    Srcnn5x5Params,
    SuperResolutionParams,
    T91Params,
)

PLUGIN_API = 1

# layer names of the authors' caffemodels: the same as here, so that a whole stage can read one file
_RECOGNISER = {"conv*": "conv*", "fc4.*": "fc4.*"}
_RECOGNISER_HEAD = {"fc5.*": "fc5.*"}
_RESTORATION = {f"conv{number}.*": f"conv{number}.*" for number in (1, 2, 3)}
_RESTORATION_HEAD = {"conv4.*": "conv4.*"}


@hookimpl
def register_datasets() -> list[Component]:
    """`vlqr/avec2016` and `vlqr/t91`."""
    return [
        Component(
            name="avec2016",
            summary="AVEC 2016 (RECOLA): one face per video frame with valence and arousal",
            params=Avec2016Params,
            build="blear_vlqr.avec:Avec2016",
            examples=(
                {"source": "data/avec2016"},
                {"source": "data/avec2016", "target": ["valence", "arousal"], "time_tolerance": "exact"},
            ),
        ),
        Component(
            name="t91",
            summary="Super-resolution patches of a folder of pictures: the 91-image set, tested on Set5",
            params=T91Params,
            build="blear_vlqr.t91:T91",
            examples=({"source": "data/t91", "test": "data/set5"}, {"source": "data/t91", "factor": 1}),
        ),
    ]


@hookimpl
def register_backbones() -> list[Component]:
    """`vlqr/cnn5x5` and `vlqr/srcnn5x5`. The weights of conv1 to conv3 are interchangeable."""
    return [
        Component(
            name="cnn5x5",
            summary="CNN+D: three pooled 5x5 convolutions, 300 hidden units, dropout",
            params=Cnn5x5Params,
            build="blear_vlqr.backbones:Cnn5x5",
            examples=({}, {"width": 0.125, "dropout": 0.0}),
            rename_tables={"vlqr_caffe": _RECOGNISER},
        ),
        Component(
            name="srcnn5x5",
            summary="The convolutions of cnn5x5 without pooling, for super-resolution pre-training",
            params=Srcnn5x5Params,
            build="blear_vlqr.backbones:Srcnn5x5",
            examples=({}, {"width": 0.125, "init": "xavier"}),
            rename_tables={"vlqr_caffe": _RESTORATION},
        ),
    ]


@hookimpl
def register_heads() -> list[Component]:
    """`vlqr/super_resolution`, `vlqr/valence` and `vlqr/arousal`."""
    return [
        Component(
            name="super_resolution",
            summary="One linear 5x5 convolution that reconstructs the central part of the clean picture",
            params=SuperResolutionParams,
            build="blear_vlqr.heads:SuperResolution",
            examples=({}, {"init": "xavier"}),
            rename_tables={"vlqr_caffe": _RESTORATION_HEAD},
        ),
        Component(
            name="valence",
            summary="Linear regression of valence, Euclidean loss; CCC, RMSE, CC",
            params=RegressionParams,
            build="blear_vlqr.heads:build_valence",
            examples=({}, {"divisors": "repository"}),
            rename_tables={"vlqr_caffe": _RECOGNISER_HEAD},
        ),
        Component(
            name="arousal",
            summary="Linear regression of arousal, Euclidean loss; CCC, RMSE, CC",
            params=RegressionParams,
            build="blear_vlqr.heads:build_arousal",
            rename_tables={"vlqr_caffe": _RECOGNISER_HEAD},
        ),
    ]
