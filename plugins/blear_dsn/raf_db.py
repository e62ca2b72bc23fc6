"""RAF-DB's basic package: web faces of seven emotions (Li, Deng, Du 2017). Layout: `blear_emotions.rafdb`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property

import numpy as np

from blear.contracts import BuildContext, ClipSpec, Sample, Target
from blear.errors import DataError
from blear.imaging import Framing, read_picture
from blear_dsn.align import align, template_points
from blear_dsn.data_params import RafDbParams
from blear_dsn.face_crops import crop_face
from blear_dsn.pictures import stretch
from blear_emotions.labels import AFEW, RAF
from blear_emotions.published import compared_with_published
from blear_emotions.rafdb import RafFace, read_package

_PREFIX = {"train": "train", "dev": "test"}
_POINTS = 5
SIZES = {"train": 12_271, "dev": 3_068}
"""Number of faces of the release, by split."""

BLOCK = 512
"""Faces per part."""


class RafDb:
    """Dataset of the faces of RAF-DB as stills. The test faces of the package are the split `dev`.

    The constructor reads no file.
    """

    terms = (
        "RAF-DB, web images, given on request by its authors for non-commercial research only: "
        "www.whdeng.cn/raf/model1.html (Li, Deng, Du 2017)."
    )

    def __init__(self, params: RafDbParams, context: BuildContext) -> None:
        self.params = params
        self.clip = ClipSpec(1, 3, params.size, params.size)
        self.framing = _framing(params)
        self._order = AFEW if params.order == "alphabetical" else RAF
        self.targets = (Target("emotion", "class", self._order.names),)

    @cached_property
    def splits(self) -> tuple[str, ...]:
        """train, and dev if the package has test faces."""
        present = {face.split for face in self._faces}
        if "train" not in present:
            raise DataError("there are no train_ faces", str(self.params.source), "use the package as released")
        return tuple(split for split, prefix in _PREFIX.items() if prefix in present)

    def parts(self, split: str) -> list[str]:
        """Names of blocks of 512 faces of the split: "00000", "00512", ...

        Raises:
            DataError: no such split.
        """
        return [f"{start:05d}" for start in range(0, len(self._of(split)), BLOCK)]

    def samples(self, split: str, part: str) -> Iterator[Sample]:
        """Yields the faces of a block in the order of the label file.

        Raises:
            DataError: no such part, or a picture or an annotation is missing or invalid.
        """
        if part not in self.parts(split):
            raise DataError(f"no part {part!r} in split {split!r}", "dsn/raf_db", "take one of parts(split)")
        for face in self._of(split)[int(part) : int(part) + BLOCK]:
            emotion = self._order.index_of_word(RAF.names[RAF.index_of_number(face.code)])
            yield Sample(face.stem, self._picture(face)[None], {"emotion": emotion}, meta={"code": face.code})

    def describe(self) -> Mapping[str, str]:
        """Number of faces of each split, compared with the release, and missing pictures."""
        counts = {split: (len(self._of(split)), size) for split, size in SIZES.items()}
        pictures = (face.aligned if self.params.face == "aligned" else face.image for face in self._faces)
        return compared_with_published(counts, missing=[picture.name for picture in pictures if not picture.is_file()])

    @cached_property
    def _faces(self) -> list[RafFace]:
        return read_package(self.params.source, "basic")

    def _of(self, split: str) -> list[RafFace]:
        if split not in _PREFIX:
            raise DataError(f"no split is called {split!r}", str(self.params.source), "use train or dev")
        return [face for face in self._faces if face.split == _PREFIX[split]]

    def _picture(self, face: RafFace) -> np.ndarray:
        size = self.params.size
        if self.params.face == "aligned":
            return stretch(read_picture(face.aligned, face.where), size)
        image_HWC = read_picture(face.image, face.where)
        try:
            if self.params.face == "box":
                box = face.box()
                sides = np.array([box.left, box.top, box.left + box.width, box.top + box.height])
                return crop_face(image_HWC, sides, size, self.params.margin)
            return align(image_HWC, _five_landmarks(face), size)
        except ValueError as error:
            raise DataError(f"{face.name}: {error}", face.where, "use the package as released") from error


def _framing(params: RafDbParams) -> Framing | None:
    """How faces are cut; None for the package's own aligned faces, whose transform is not published."""
    if params.face == "aligned":
        return None
    if params.face == "box":
        return Framing("box", margin=params.margin, unit="pixels", inside=True)
    return Framing("landmarks", points=template_points(), size=params.size)


def _five_landmarks(face: RafFace) -> np.ndarray:
    points_P2 = face.landmarks()
    if len(points_P2) != _POINTS:
        what = f"{face.name} has {len(points_P2)} landmarks instead of {_POINTS}"
        raise DataError(what, face.where, "use the basic package as released")
    return points_P2
