"""The restoration head: layers that turn the first layers of a trunk into a restoration network (section 3.1, 3.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, relu

from blear.contracts import Batch, BuildContext, Decoded, Features, Images, Metric
from blear.errors import PluginError
from blear_adverse.layers import initialise_, require_clip
from blear_adverse.params import RestorationParams

_NAME = "adverse/restoration"


class Restoration(nn.Module):
    """A map [B, T, K, h, w] -> pictures [B, T, C, h * stride, w * stride], cropped to the clips' size if larger.

    The target is the clean clip; its centre if unpadded layers of trunk or head remove a border. The head has no
    metrics: it pre-trains the first layers, and restores pictures for `evaluate.arms.*.restore`.

    Raises:
        PluginError: the backbone has no such map, its stride cannot be derived, or the map is smaller than the filters.
    """

    def __init__(self, params: RestorationParams, context: BuildContext) -> None:
        super().__init__()
        clip = require_clip(context, _NAME)
        shape = context.features.get(params.at)
        if shape is None or len(shape) != 4:
            known = ", ".join(name for name, each in context.features.items() if len(each) == 4) or "none"
            what = f"the backbone gives no feature map {params.at!r}; its maps are: {known}"
            raise PluginError(what, _NAME, "set `at` to one of them, or use a backbone with maps")
        _, inputs, height, width = shape
        self._at, self._loss = params.at, params.loss
        self._size = (clip.height, clip.width)
        self._stride = params.stride or _stride((height, width), self._size)
        layers = [inputs, *params.channels, clip.channels * self._stride**2]
        lost = 0 if params.padded else (len(layers) - 1) * (params.kernel - 1)
        if min(height, width) <= lost:
            what = f"the map of {width}x{height} pixels is smaller than its convolutions, which take {lost} away"
            raise PluginError(what, _NAME, "use larger clips, or padded: true")
        padding = params.kernel // 2 if params.padded else 0
        self.hidden = nn.ModuleList(nn.Conv2d(i, o, params.kernel, padding=padding) for i, o in pairwise(layers[:-1]))
        self.last = nn.Conv2d(layers[-2], layers[-1], params.kernel, padding=padding)
        for layer in (*self.hidden, self.last):
            initialise_(layer, params.init)

    def forward(self, features: Features) -> Tensor:
        """Returns pictures [B, T, C, h, w]."""
        maps = features[self._at]
        x = maps.flatten(0, 1)
        for layer in self.hidden:
            x = relu(layer(x))
        x = pixel_shuffle(self.last(x), self._stride)[..., : self._size[0], : self._size[1]]
        return x.unflatten(0, maps.shape[:2])

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Squared error from `batch.clean_BTCHW` over their common centre. The parameter `loss` sets the reduction."""
        rows, columns = (min(a, b) for a, b in zip(outputs.shape[-2:], batch.clean_BTCHW.shape[-2:], strict=True))
        squares = (_centre(outputs, rows, columns).float() - _centre(batch.clean_BTCHW, rows, columns)).square()
        return squares.mean() if self._loss == "mean" else squares.sum() / (2 * outputs.shape[0] * outputs.shape[1])

    def metrics(self) -> Sequence[Metric]:
        """Empty: this head is used only for pre-training."""
        return ()

    def decode(self, outputs: Tensor) -> Mapping[str, Decoded]:
        """The pictures, as `image`."""
        return {"image": Images(outputs)}


def _stride(map_size: tuple[int, int], clip_size: tuple[int, int]) -> int:
    """Derives the stride of a padded trunk's map, whose size is rounded up. Powers of two are preferred."""
    fitting = [n for n in range(1, clip_size[0] + 1) if tuple(-(-pixels // n) for pixels in clip_size) == map_size]
    if not fitting:
        what = f"a map of {map_size[1]}x{map_size[0]} pixels is no even reduction of {clip_size[1]}x{clip_size[0]}"
        raise PluginError(what, _NAME, "give `stride`, input pixels for each of the map's (1 without pooling)")
    return next((n for n in fitting if n.bit_count() == 1), fitting[0])


def _centre(frames_BTCHW: Tensor, rows: int, columns: int) -> Tensor:
    above, left = frames_BTCHW.shape[-2] - rows, frames_BTCHW.shape[-1] - columns
    if above % 2 or left % 2:
        given = f"{frames_BTCHW.shape[-1]}x{frames_BTCHW.shape[-2]}"
        what = f"{columns}x{rows} pixels cannot be centred in {given}"
        raise PluginError(what, _NAME, "make restored and clean frames differ by an even number of pixels")
    return frames_BTCHW[..., above // 2 : above // 2 + rows, left // 2 : left // 2 + columns]
