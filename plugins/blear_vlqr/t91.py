"""Super-resolution patches of still pictures: the 91-image set for training, Set5 for testing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from blear.contracts import BuildContext, ClipSpec, Sample, Target
from blear.errors import DataError
from blear.imaging import PICTURE_SUFFIXES, picture_files, read_picture, resize_bicubic, studio_luma
from blear_vlqr.params import T91Params


class T91:
    """Dataset of patches on a regular grid: degraded luma 32x32 as `frames`, the clean central 16x16 as `clean`.

    As published: the studio luma of the whole picture is cropped at the bottom and right to multiples of `factor`, then
    downscaled and upscaled by antialiased bicubic resizing, in unclipped float32. The grid starts at the top left
    corner and contains every patch inside the cropped picture, which gives the published counts. `clean` is uint8. With
    `factor` 1, `frames` are clean uint8 patches without `clean`, and the job degrades them. There are no targets.

    Raises:
        DataError: a folder is missing or has no picture, a picture cannot be read or is smaller than a patch, or two
            pictures have the same key.
    """

    targets: Sequence[Target] = ()
    terms = (
        "91-image super-resolution training set (Yang et al. 2010) and Set5 (Bevilacqua et al. 2012): "
        "research use; the pictures belong to their photographers."
    )

    def __init__(self, params: T91Params, context: BuildContext) -> None:
        self.params = params
        self.clip = ClipSpec(1, 1, params.patch, params.patch)
        self._pictures = {"train": _pictures(params.source)}
        if params.test is not None:
            self._pictures["dev"] = _pictures(params.test)
        self.splits = tuple(self._pictures)

    def parts(self, split: str) -> Sequence[str]:
        """Names of the pictures; a part is one picture."""
        return tuple(self._pictures[split])

    def samples(self, split: str, part: str) -> Iterator[Sample]:
        """Yields the patches of one picture, row by row."""
        params, path = self.params, self._pictures[split][part]
        clean = studio_luma(read_picture(path))
        height, width = (n - n % params.factor for n in clean.shape)
        clean = clean[:height, :width]
        corners = grid(height, width, params.patch, params.stride if split == "train" else params.stride_test)
        if not corners:
            raise DataError(
                f"cropped to multiples of {params.factor}, its {width}x{height} pixels hold no patch of {params.patch}",
                str(path),
                "remove the picture from the folder, or lower patch or factor",
            )
        low = (
            None if params.factor == 1 else low_quality(clean, params.factor, mirrored=params.interpolation == "matlab")
        )
        border = (params.patch - params.target) // 2
        for top, left in corners:
            window = (slice(top, top + params.patch), slice(left, left + params.patch))
            centre = (
                slice(top + border, top + border + params.target),
                slice(left + border, left + border + params.target),
            )
            yield Sample(
                key=f"{part}/{top:04d}-{left:04d}",
                frames=np.ascontiguousarray((clean if low is None else low)[window][None, ..., None]),
                targets={},
                clean=None if low is None else np.ascontiguousarray(clean[centre][None, ..., None]),
                video=part,
            )


def grid(height: int, width: int, patch: int, stride: int) -> list[tuple[int, int]]:
    """Returns the top left corners (row, column) of the patches of a picture, row by row."""
    rows, columns = range(0, height - patch + 1, stride), range(0, width - patch + 1, stride)
    return [(top, left) for top in rows for left in columns]


def low_quality(luma_HW: np.ndarray, factor: int, *, mirrored: bool = False) -> np.ndarray:
    """Downscales uint8 luma by `factor`, which divides both sides, and upscales it: float32 in about [0, 1].

    `mirrored`: see `resize_bicubic`.
    """
    height, width = luma_HW.shape
    small = resize_bicubic(luma_HW.astype(np.float32) / 255, height // factor, width // factor, mirrored=mirrored)
    return resize_bicubic(small, height, width, mirrored=mirrored)


def _pictures(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise DataError("no such folder", str(folder), "give the folder that holds the pictures")
    pictures: dict[str, Path] = {}
    for path in picture_files(folder):
        part = re.sub(r"[^A-Za-z0-9_-]", "_", path.stem)
        if part in pictures:
            raise DataError(f"has the same key as {pictures[part].name}: {part}", str(path), "rename one of them")
        pictures[part] = path
    if not pictures:
        raise DataError(
            f"holds no picture ({', '.join(PICTURE_SUFFIXES)})", str(folder), "give the folder of the pictures"
        )
    return pictures
