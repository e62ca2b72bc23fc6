"""Procedurally drawn expressive faces (no download) and face locators."""

from __future__ import annotations

from blear.contracts import Component
from blear.hooks import hookimpl
from blear_faces.locator_params import BoxesParams, CenterFaceParams, MtcnnParams, RetinaFaceParams, YuNetParams
from blear_faces.params import ProceduralParams

PLUGIN_API = 1


@hookimpl
def register_datasets() -> list[Component]:
    """`faces/procedural`."""
    return [
        Component(
            name="procedural",
            summary="Drawn faces with action units: seven emotions, valence, arousal; stills or clips, no download",
            params=ProceduralParams,
            build="blear_faces.dataset:ProceduralFaces",
            examples=(
                {"size": 48, "subjects": {"train": 3, "dev": 2}, "per_subject": 4},
                {
                    "size": 48,
                    "color": "luma",
                    "targets": ["valence"],
                    "subjects": {"train": 2, "dev": 1},
                    "per_subject": 2,
                    "recordings": 1,
                    "frames": 5,
                    "seed": 7,
                },
            ),
        )
    ]


@hookimpl
def register_locators() -> list[Component]:
    """`faces/retinaface`, the default, and four others."""
    return [
        Component(
            name="retinaface",
            summary="RetinaFace (Deng et al. 2020), MobileNet 0.25: small faces, fast; the weights come with blear",
            params=RetinaFaceParams,
            build="blear_faces.retinaface.locator:build_retinaface",
            examples=({}, {"device": "cpu", "min_face": 24}),
        ),
        Component(
            name="mtcnn",
            summary="MTCNN (Zhang et al. 2016); the weights come with facenet-pytorch",
            params=MtcnnParams,
            build="blear_faces.mtcnn:build_mtcnn",
            examples=({}, {"device": "cpu", "min_face": 40}),
        ),
        Component(
            name="centerface",
            summary="CenterFace (Xu et al. 2020), run by OpenCV; the network comes with blear",
            params=CenterFaceParams,
            build="blear_faces.centerface.locator:build_centerface",
            examples=({}, {"min_face": 24}),
        ),
        Component(
            name="yunet",
            summary="YuNet (Wu, Peng, Yu 2023), run by OpenCV; needs the network's ONNX file",
            params=YuNetParams,
            build="blear_faces.yunet:build_yunet",
            examples=({"file": "face_detection_yunet_2023mar.onnx"},),
        ),
        Component(
            name="boxes",
            summary="Boxes of one video from a table: csv, tsv, jsonl or parquet",
            params=BoxesParams,
            build="blear_faces.boxes:build_boxes",
            examples=({"file": "boxes.csv"}, {"file": "boxes.csv", "first_pixel": 1}),
        ),
    ]
