"""Picture files, luma, and bicubic resize."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from blear.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

PICTURE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png")
"""Lower-case endings of picture files in folders of raw data."""

_ORIENTATION = 0x0112  # EXIF tag
_TURNED = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
_DAMAGE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, RuntimeError, struct.error)  # RuntimeError: AVIF, DDS


def picture_files(folder: Path, suffixes: Iterable[str] = PICTURE_SUFFIXES) -> list[Path]:
    """Lists the picture files of a folder, sorted by name, without those of its subfolders.

    Hidden files are left out. macOS writes a file `._NAME` beside each file NAME on disks of other systems; it ends
    like a picture, but holds no pixels.

    Args:
        folder: an existing folder.
        suffixes: endings in lower case; file names may have them in any case.
    """
    endings = tuple(suffixes)
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in endings and not path.name.startswith(".") and path.is_file()
    )


def read_picture(
    picture: Path | bytes, where: str = "", *, color: Literal["rgb", "grey"] = "rgb", background: int = 0
) -> np.ndarray:
    """Reads a picture file of any format of Pillow as uint8 RGB [H, W, 3] or grey [H, W], upright.

    - EXIF: a picture with an orientation tag is turned as the tag states. Boxes and landmarks must count its pixels
      upright, too.
    - 16 bits: the upper 8 bits of each value are kept, as libpng and OpenCV do. 0 stays 0, 65535 becomes 255.
    - Palettes become colours, CMYK becomes RGB, one bit becomes 0 or 255.
    - Alpha: a transparent picture is blended over a uniform grey of the value `background`; 0 is black.
    - Grey is BT.601 luma in full range; grey pictures become RGB by repetition.

    Args:
        picture: path of the file, or its content.
        where: for messages: the row of a list that names the picture; empty: the path itself.
        color: the result's channels.
        background: grey value, 0 to 255, behind transparent pixels.

    Raises:
        DataError: the file is missing, damaged, no picture, or has values without a defined range (32-bit float).
    """
    from PIL import Image, UnidentifiedImageError

    named = f"the picture {picture}" if where and isinstance(picture, Path) else "the picture"
    where = where or (str(picture) if isinstance(picture, Path) else "")
    try:
        with Image.open(picture if isinstance(picture, Path) else io.BytesIO(picture)) as image:
            return picture_array(image, color=color, background=background)
    except FileNotFoundError as error:
        raise DataError(f"{named} is missing", where, "unpack all of the data, or fix the list") from error
    except (*_DAMAGE_ERRORS, Image.DecompressionBombError) as error:  # Pillow raises SyntaxError for damaged PNG chunks
        reason = "its format is not known" if isinstance(error, UnidentifiedImageError) else error
        raise DataError(f"{named} cannot be read: {reason}", where, "replace it by an intact copy") from error


def picture_array(image: Image.Image, *, color: Literal["rgb", "grey"] = "rgb", background: int = 0) -> np.ndarray:
    """Converts a picture of Pillow to uint8 RGB [H, W, 3] or grey [H, W], upright, by the rules of `read_picture`.

    Raises:
        ValueError: its values have no defined range (32-bit float), or more than 16 bits.
        OSError: it was opened from a file that is damaged.
    """
    from PIL import Image

    image.load()  # Pillow turns TIFF pictures here, and deletes their tag
    turned = _TURNED.get(_orientation(image))
    plain = _eight_bits(image)
    upright = plain if turned is None else plain.transpose(Image.Transpose[turned])
    return np.array(_opaque(upright, background).convert("RGB" if color == "rgb" else "L"))


def _orientation(image: Image.Image) -> int:
    """Returns the EXIF orientation, 1 (upright) to 8; 1 if there is none, or if the EXIF data are damaged."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except (SyntaxError, ValueError, TypeError, KeyError, OverflowError, struct.error):
        return 1


def _eight_bits(image: Image.Image) -> Image.Image:
    """Returns a picture of more than 8 bits as 8-bit grey; any other picture unchanged."""
    from PIL import Image

    if image.mode == "F":
        raise ValueError("its values are 32-bit floats, whose range is not defined: save it with 8 or 16 bits")
    if not image.mode.startswith("I"):
        return image
    values_HW = np.asarray(image).astype(np.int64)
    if values_HW.min() < 0 or values_HW.max() > 65535:
        raise ValueError("its values have more than 16 bits: save it with 8 or 16 bits")
    return Image.fromarray((values_HW >> 8).astype(np.uint8))


def _opaque(image: Image.Image, background: int) -> Image.Image:
    """Blends a picture with transparency over a uniform grey; returns any other picture unchanged."""
    from PIL import Image

    if not image.has_transparency_data:
        return image
    colours = image.convert("RGBA")
    behind = Image.new("RGBA", colours.size, (background, background, background, 255))
    return Image.alpha_composite(behind, colours)


def studio_luma(rgb_HWC: np.ndarray) -> np.ndarray:
    """Converts a uint8 RGB image [H, W, 3] to BT.601 studio-range luma, uint8 [H, W] in 16..235.

    Equal to the first channel of MATLAB's `rgb2ycbcr`.
    """
    weights = np.array([65.481, 128.553, 24.966], dtype=np.float64) / 255.0
    return np.floor(16.0 + rgb_HWC.astype(np.float64) @ weights + 0.5).astype(np.uint8)


def resize_bicubic(image: np.ndarray, height: int, width: int, *, mirrored: bool = False) -> np.ndarray:
    """Resizes a float image [H, W] or [H, W, C] with antialiased bicubic interpolation (a = -0.5).

    Args:
        mirrored: continue the image mirrored at its borders, as MATLAB's `imresize` does. False: the weights are
            renormalised at the borders; the result is equal elsewhere.

    Returns:
        float32 [height, width] or [height, width, C]; values are not clipped to the input's range.
    """
    import torch
    from torch.nn.functional import interpolate

    from blear.separable import resize

    image_HWC = image if image.ndim == 3 else image[..., None]
    frames = torch.from_numpy(np.ascontiguousarray(image_HWC.transpose(2, 0, 1), dtype=np.float32))[None]
    if mirrored:
        rows, columns = (resize(n, out, "matlab") for n, out in zip(image.shape[:2], (height, width), strict=True))
        enlarged = (rows @ frames[0].double() @ columns.T).float().numpy()
        return enlarged.transpose(1, 2, 0) if image.ndim == 3 else enlarged[0]
    out = interpolate(frames, size=(height, width), mode="bicubic", antialias=True, align_corners=False)[0]
    return out.numpy().transpose(1, 2, 0) if image.ndim == 3 else out[0].numpy()
