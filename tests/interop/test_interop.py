"""Degradations and models in torchvision, in callables of arrays and under MAITE's protocols."""

from __future__ import annotations

from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from maite.protocols import image_classification as ic
from maite.tasks import augment_dataloader, predict
from torch.utils.data import DataLoader
from torchvision.transforms import v2

import blear
from blear.errors import JobError, RunError
from blear_interop import ArrayTransform, MaiteAugmentation, MaiteModel, TorchvisionTransform
from torchvision import tv_tensors

CHAIN = [{"use": "downscale", "factor": 3}, {"use": "noise", "sigma": [5, 30]}]
SMALLER = [{"use": "resize", "size": 16}]


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (4, 3, 48, 48), dtype=np.uint8)


class Faces:
    """A dataset of MAITE: pictures [C, H, W] and one-hot targets."""

    def __init__(self, pictures: np.ndarray) -> None:
        self.pictures, self.metadata = pictures, {"id": "faces", "index2label": {0: "a", 1: "b"}}

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray, Any]:
        return self.pictures[number], np.eye(2)[number % 2], {"id": f"face {number}"}


def test_torchvision_gives_every_kind_of_picture_back(faces: np.ndarray) -> None:
    transform, tensor = TorchvisionTransform(CHAIN), torch.from_numpy(faces[0])
    torch.manual_seed(3)
    number = int(torch.randint(2**31, ()))
    expected = blear.degrade(tensor[None], CHAIN, epoch=number)[0]
    given = {
        "tensor": tensor,
        "image": tv_tensors.Image(tensor),
        "pillow": PIL.Image.fromarray(faces[0].transpose(1, 2, 0)),
    }
    for name, picture in given.items():
        torch.manual_seed(3)
        degraded, label = transform(picture, 5)
        assert type(degraded).__name__ == type(picture).__name__, name
        assert label == 5
        array = np.asarray(degraded).transpose(2, 0, 1) if name == "pillow" else degraded.numpy()
        assert np.array_equal(array, expected.numpy()), name
    other = transform(tensor)
    assert not torch.equal(other, expected)  # the next draw
    grey = transform(PIL.Image.fromarray(faces[0, 0]))
    assert (grey.mode, grey.size) == ("L", (48, 48))


def test_torchvision_composes_with_floats_batches_and_video(faces: np.ndarray) -> None:
    floats = v2.Compose([v2.ToDtype(torch.float32, scale=True), TorchvisionTransform(SMALLER)])(tv_tensors.Image(faces))
    assert floats.shape == (4, 3, 16, 16)
    assert floats.dtype == torch.float32
    assert 0 <= floats.min() < floats.max() <= 1
    video = TorchvisionTransform([{"use": "noise", "sigma": [5, 30]}])(
        tv_tensors.Video(torch.full((5, 3, 16, 16), 128, dtype=torch.uint8))
    )
    assert isinstance(video, tv_tensors.Video)
    spread = video.float().std(dim=(1, 2, 3))
    assert spread.max() - spread.min() < 0.15 * spread.mean()  # one strength for the clip


def test_torchvision_refuses_boxes_of_another_size(faces: np.ndarray) -> None:
    boxes = tv_tensors.BoundingBoxes(torch.tensor([[1, 2, 30, 40]]), format="XYXY", canvas_size=(48, 48))
    sample = {"image": tv_tensors.Image(faces[0]), "boxes": boxes}
    assert torch.equal(TorchvisionTransform(CHAIN)(sample)["boxes"], boxes)
    with pytest.raises(ValueError, match=r"\[48, 48\] pixels became \[16, 16\]"):
        TorchvisionTransform(SMALLER)(sample)
    with pytest.raises(ValueError, match="mode CMYK"):
        TorchvisionTransform(CHAIN)(PIL.Image.new("CMYK", (48, 48)))
    with pytest.raises(JobError):
        TorchvisionTransform([{"usee": "noise"}])


@pytest.mark.parametrize(
    ("entry", "moves"),
    [
        ({"use": "random_flip"}, True),
        ({"use": "corruptions/random_affine", "p": 0.1}, True),
        ({"one_of": [{"use": "noise"}, {"use": "random_shift", "pixels": 3}]}, True),
        ({"use": "elastic_transform"}, True),
        ({"use": "kornia/RandomRotation", "degrees": 9}, True),
        ({"use": "kornia/RandomGaussianBlur", "kernel_size": [3, 3], "sigma": [1, 2]}, False),
        ({"use": "zoom_blur"}, False),
    ],
    ids=str,
)
def test_torchvision_refuses_to_move_a_picture_away_from_its_labels(
    faces: np.ndarray, entry: dict[str, Any], moves: bool
) -> None:
    boxes = tv_tensors.BoundingBoxes(torch.tensor([[1, 2, 30, 40]]), format="XYXY", canvas_size=(48, 48))
    image, mask = tv_tensors.Image(faces[0]), tv_tensors.Mask(faces[0, :1] > 9)
    transform = TorchvisionTransform([{"use": "noise"}, entry])
    assert transform(image, 3)[1] == 3  # a class does not move
    for place in (boxes, mask):
        if moves:
            with pytest.raises(JobError, match=r"degradations\.1: moves the content"):
                transform(image, place)
        else:
            assert torch.equal(transform(image, place)[1], place)


def test_a_chain_for_large_pictures_can_be_built() -> None:
    large = torch.zeros((3, 100, 120), dtype=torch.uint8)
    assert TorchvisionTransform([{"use": "random_crop", "size": 96}])(large).shape == (3, 96, 96)


def test_named_arrays_keep_their_layout_and_seed(faces: np.ndarray) -> None:
    transform, picture = ArrayTransform(CHAIN, seed=1), faces[0].transpose(1, 2, 0)
    first = transform(image=picture, label="happy")
    number = int(np.random.default_rng(1).integers(2**31))
    assert np.array_equal(first["image"], blear.degrade(picture[None], CHAIN, epoch=number)[0])
    assert first["label"] == "happy"
    assert not np.array_equal(transform(image=picture)["image"], first["image"])
    transform.set_random_seed(1)
    assert np.array_equal(transform(image=picture)["image"], first["image"])
    assert transform(image=picture[..., 0])["image"].shape == (48, 48)
    with pytest.raises(ValueError, match=r"shape \[4, 3, 48, 48\]"):
        transform(image=faces)


class Noisy:
    """A dataset of one grey picture with other noise each time."""

    def __init__(self, seed: int | None) -> None:
        self.transform = ArrayTransform([{"use": "noise", "sigma": 30}], seed=seed)

    def __len__(self) -> int:
        return 4

    def __getitem__(self, number: int) -> torch.Tensor:
        return torch.from_numpy(self.transform(image=np.full((8, 8), 128, np.uint8))["image"])


@pytest.mark.parametrize("seed", [None, 1])
def test_named_arrays_differ_in_each_worker_and_epoch(seed: int | None) -> None:
    def two_epochs(seed: int | None) -> list[bytes]:
        torch.manual_seed(0)
        data = Noisy(seed)
        data[0]  # the main process draws too, before the workers get their copies
        loader = DataLoader(data, batch_size=1, num_workers=2)
        return [batch.numpy().tobytes() for _ in range(2) for batch in loader]

    first = two_epochs(seed)
    assert len(set(first)) == 8
    assert (two_epochs(seed) == first) == (seed is not None)
    if seed is not None:
        assert not {*two_epochs(2)} & {*first}


def test_maite_augments_each_picture_by_its_id(faces: np.ndarray) -> None:
    augmentation = MaiteAugmentation(CHAIN, seed=2)
    assert isinstance(augmentation, ic.Augmentation)
    assert augmentation.metadata == {"id": "blear: downscale, noise"}
    dataset = Faces(faces)
    loader = [tuple(zip(*(dataset[number] for number in part), strict=True)) for part in ([0, 1, 2], [3])]
    pictures = [
        picture for batch in augment_dataloader(dataloader=loader, augmentation=augmentation) for picture in batch[0]
    ]
    assert all(picture.shape == (3, 48, 48) and picture.dtype == np.uint8 for picture in pictures)
    again, targets, _ = augmentation(([*faces[2:]], ["target"] * 2, [{"id": "face 2"}, {"id": "face 3"}]))
    assert all(np.array_equal(a, b) for a, b in zip(again, pictures[2:], strict=True))
    assert targets == ["target"] * 2
    (other,), _, _ = augmentation(([faces[2]], ["target"], [{"id": "face 9"}]))
    assert not np.array_equal(other, pictures[2])


def test_maite_predicts_with_a_shipped_model(faces: np.ndarray) -> None:
    model = blear.load("robust-faces")
    wrapped = MaiteModel(model)
    assert isinstance(wrapped, ic.Model)
    assert wrapped.metadata["index2label"] == dict(enumerate(model.labels["emotion"]))
    predictions, _ = predict(model=wrapped, dataset=Faces(faces), batch_size=3)
    scores = torch.stack([torch.as_tensor(one) for batch in predictions for one in batch])
    assert torch.allclose(scores, model(torch.from_numpy(faces))["emotion"], atol=1e-6)
    mixed = wrapped([faces[0], faces[1, :1, :40, :40]])
    assert [one.shape for one in mixed] == [(7,), (7,)]
    assert np.allclose(mixed[0], scores[0], atol=1e-6)
    assert wrapped([]) == []
    with pytest.raises(RunError, match="no class target 'age'"):
        MaiteModel(model, "age")
    with pytest.raises(ValueError, match=r"\[48, 48, 3\]"):
        wrapped([faces[0].transpose(1, 2, 0)])
