"""The FER-VGG-GRU system: readers of FER2013, FERPlus and AFEW, two face networks, and heads that classify a clip."""

from __future__ import annotations

from blear.contracts import Component
from blear.hooks import hookimpl
from blear_fer.datasets.params import AfewParams, Fer2013Params, FerplusParams
from blear_fer.heads.params import AffectParams, EmotionParams, MultiLevelGruParams, SequenceParams
from blear_fer.networks.params import FaceResnetParams, VggFaceParams
from blear_fer.weight_names import (
    CAFFE,
    CONVERTED,
    DSN_VGG_FACE,
    DSN_VGG_FACE_HEAD,
    FACE_RESNET,
    FACE_RESNET_HEAD,
    FINE_TUNED,
    FINE_TUNED_HEAD,
    RESNET_GRU_HEAD,
    VGG_GRU,
    VGG_GRU_HEAD,
)

PLUGIN_API = 1


@hookimpl
def register_datasets() -> list[Component]:
    """`fer/fer2013`, `fer/ferplus` and `fer/afew`: readers of the raw files."""
    return [
        Component(
            "fer2013",
            "FER2013: 48 x 48 grey faces, seven emotions; csv, class folders or zip",
            Fer2013Params,
            "blear_fer.datasets.fer2013:Fer2013",
            examples=({"source": "fer2013.csv"},),
        ),
        Component(
            "ferplus",
            "FERPlus: FER2013's faces with eight classes from ten votes each",
            FerplusParams,
            "blear_fer.datasets.ferplus:Ferplus",
            examples=({"source": "fer2013.csv", "votes": "fer2013new.csv"},),
        ),
        Component(
            "afew",
            "AFEW / EmotiW: film clips of seven emotions; videos with MTCNN, aligned faces, or extracted ones",
            AfewParams,
            "blear_fer.datasets.afew:Afew",
            examples=(
                {"source": "data/afew"},
                {"source": "data/afew", "faces": "aligned", "unit": "frame", "size": [112, 96]},
            ),
        ),
    ]


@hookimpl
def register_backbones() -> list[Component]:
    """`fer/vgg_face` and `fer/face_resnet`: each frame is processed independently."""
    return [
        Component(
            "vgg_face",
            "VGG-Face, 16 layers: 13 convolutions, fc6, fc7",
            VggFaceParams,
            "blear_fer.networks.vgg_face:VggFace",
            examples=({"width": 0.0625}, {"width": 0.0625, "layers": "fc6", "normalise": "imagenet"}),
            rename_tables={
                "vgg_face_caffe": CAFFE,
                "vgg_face_converted": CONVERTED,
                "vgg_face_fer2013": FINE_TUNED,
                "vgg_gru": VGG_GRU,
                "dsn_vgg_face": DSN_VGG_FACE,
            },
        ),
        Component(
            "face_resnet",
            "The center loss's face ResNet with batch normalisation; fc5 and the maps p1 and p3",
            FaceResnetParams,
            "blear_fer.networks.face_resnet:FaceResnet",
            examples=({"width": 0.125, "size": [112, 96]}, {"width": 0.125, "size": [48, 48], "conv_dropout": 0.4}),
            rename_tables={"face_resnet_fer2013": FACE_RESNET, "resnet_gru": FACE_RESNET},
        ),
    ]


@hookimpl
def register_heads() -> list[Component]:
    """`fer/emotion`, `fer/sequence` and `fer/multi_level_gru`: classifiers of a clip; `fer/affect`: values."""
    return [
        Component(
            "emotion",
            "One linear layer on the embedding, logits averaged over the clip, cross-entropy",
            EmotionParams,
            "blear_fer.heads.emotion:EmotionHead",
            examples=({}, {"label_smoothing": 0.1, "dropout": 0.5, "class_weights": "balanced"}),
            rename_tables={
                "vgg_face_fer2013": FINE_TUNED_HEAD,
                "face_resnet_fer2013": FACE_RESNET_HEAD,
                "dsn_vgg_face": DSN_VGG_FACE_HEAD,
            },
        ),
        Component(
            "sequence",
            "GRU or LSTM over the embeddings of a clip, mean over the frames, one linear layer, cross-entropy",
            SequenceParams,
            "blear_fer.heads.sequence:SequenceHead",
            examples=({}, {"cell": "lstm", "hidden": 16}, {"cell": "lstm_cell", "hidden": 16, "dropout": 0.0}),
            rename_tables={"vgg_gru": VGG_GRU_HEAD},
        ),
        Component(
            "multi_level_gru",
            "Three GRUs on the embedding and two projected maps, summed; with fer/face_resnet",
            MultiLevelGruParams,
            "blear_fer.heads.sequence:MultiLevelGruHead",
            examples=({"side": 16, "hidden": 8}, {"side": 16, "hidden": 8, "pool": 2}),
            rename_tables={"resnet_gru": RESNET_GRU_HEAD},
        ),
        Component(
            "affect",
            "One linear layer on the embedding, several values such as valence and arousal, squared or absolute error",
            AffectParams,
            "blear_fer.heads.affect:AffectHead",
            examples=({}, {"targets": ["valence"], "loss": "absolute", "dropout": 0.5}),
        ),
    ]
