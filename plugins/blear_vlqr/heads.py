"""Heads with Caffe's Euclidean loss: super-resolution (conv4) for pre-training, valence and arousal (fc5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from blear.contracts import Batch, BuildContext, Decoded, Features, Images, Metric, Values
from blear.errors import PluginError
from blear_vlqr.caffe import euclidean_loss, initialise_
from blear_vlqr.metrics import REGRESSION, REPOSITORY
from blear_vlqr.params import RegressionParams, SuperResolutionParams

_KERNEL = 5


class SuperResolution(nn.Module):
    """`map` [B, T, K, h, w] -> pictures [B, T, C, h - 4, w - 4]: one linear unpadded 5x5 convolution, conv4.

    With `vlqr/srcnn5x5`, frames of 32x32 give pictures of 16x16, and frames of 96x96 pictures of 80x80.

    Raises:
        PluginError: the backbone has no `map`, the map is below 5 pixels, or the clip's shape is unknown.
    """

    def __init__(self, params: SuperResolutionParams, context: BuildContext) -> None:
        super().__init__()
        name = "vlqr/super_resolution"
        _, inputs, height, width = _feature(context, "map", name, "use the backbone vlqr/srcnn5x5")
        if context.clip is None:
            raise PluginError("needs the shape of the clips to be built", name, "build it with a context with `clip`")
        if min(height, width) < _KERNEL:
            raise PluginError(
                f"the feature map of {width}x{height} pixels is smaller than its {_KERNEL}x{_KERNEL} convolution",
                name,
                "use larger clips, at least 17x17 pixels for vlqr/srcnn5x5",
            )
        self.conv4 = nn.Conv2d(inputs, context.clip.channels, _KERNEL)
        initialise_(self.conv4, params.init)

    def forward(self, features: Features) -> Tensor:
        """Returns pictures [B, T, C, h, w]."""
        maps = features["map"]
        return self.conv4(maps.flatten(0, 1)).unflatten(0, maps.shape[:2])

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Half the squared error from the centre of `batch.clean_BTCHW`, summed over pixels, averaged over frames."""
        clean = _centre(batch.clean_BTCHW, outputs.shape[-2], outputs.shape[-1])
        return euclidean_loss(outputs.flatten(0, 1), clean.flatten(0, 1))

    def metrics(self) -> Sequence[Metric]:
        """Empty: this head is used only for pre-training."""
        return ()

    def decode(self, outputs: Tensor) -> Mapping[str, Decoded]:
        """The pictures, as `image`."""
        return {"image": Images(outputs)}


class Regression(nn.Module):
    """`embedding` [B, T, D] -> one value per frame [B, T] (fc5, linear). The value of a clip is the mean over frames.

    Raises:
        PluginError: the data have no such regression target, or the backbone has no `embedding`.
    """

    def __init__(self, target: str, params: RegressionParams, context: BuildContext) -> None:
        super().__init__()
        self._metrics = REPOSITORY if params.divisors == "repository" else REGRESSION
        name = f"vlqr/{target}"
        found = context.targets.get(target)
        if found is None or found.kind != "value":
            values = ", ".join(t.name for t in context.targets.values() if t.kind == "value") or "none"
            raise PluginError(
                f"the data have no values of {target!r}; their values are: {values}",
                name,
                "add it to the dataset's targets, or use a head for a target that the data have",
            )
        _, inputs = _feature(context, "embedding", name, "use a backbone with an embedding, such as vlqr/cnn5x5")
        self.target = target
        self.fc5 = nn.Linear(inputs, 1)
        initialise_(self.fc5, "xavier")

    def forward(self, features: Features) -> Tensor:
        """Returns values [B, T]."""
        return self.fc5(features["embedding"]).squeeze(-1)

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Half the squared error of the values of clips, averaged over the batch."""
        return euclidean_loss(outputs.float().mean(dim=1), batch.targets[self.target])

    def metrics(self) -> Sequence[Metric]:
        """CCC, RMSE and CC with the divisors of `params.divisors`."""
        return self._metrics

    def decode(self, outputs: Tensor) -> Mapping[str, Decoded]:
        """Values of the clips [B, 1], not clipped to the target's range."""
        return {self.target: Values(outputs.float().mean(dim=1, keepdim=True))}


def build_valence(params: RegressionParams, context: BuildContext) -> Regression:
    """Builds `vlqr/valence`."""
    return Regression("valence", params, context)


def build_arousal(params: RegressionParams, context: BuildContext) -> Regression:
    """Builds `vlqr/arousal`."""
    return Regression("arousal", params, context)


def _feature(context: BuildContext, feature: str, name: str, do: str) -> tuple[int, ...]:
    if feature not in context.features:
        given = ", ".join(context.features) or "none"
        raise PluginError(f"needs the feature {feature!r}; the backbone gives: {given}", name, do)
    return context.features[feature]


def _centre(clean_BTCHW: Tensor, height: int, width: int) -> Tensor:
    rows, columns = clean_BTCHW.shape[-2] - height, clean_BTCHW.shape[-1] - width
    if rows < 0 or columns < 0 or rows % 2 or columns % 2:
        given = f"{clean_BTCHW.shape[-1]}x{clean_BTCHW.shape[-2]}"
        raise PluginError(
            f"{width}x{height} pixels cannot be centred in the clean clips of {given}",
            "vlqr/super_resolution",
            "give clean clips larger than the output by an even number of pixels, or of its size",
        )
    top, left = rows // 2, columns // 2
    return clean_BTCHW[..., top : top + height, left : left + width]
