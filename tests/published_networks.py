"""Forward passes of the published networks in plain torch, from the tensors of the authors' files, without dropout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, batch_norm, conv2d, conv_transpose2d, linear, max_pool2d, relu

from published_files import CONVS, DEEP, POSITIONS, VGG

Tensors = Mapping[str, Tensor]
FER_MEAN, FER_STD = 0.507395516207, 0.255128989415
_LAST = [sum(depth for _, depth in VGG[: group + 1]) - 1 for group in range(len(VGG))]


def imagenet(frames_NCHW: Tensor) -> Tensor:
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (frames_NCHW - mean[:, None, None]) / std[:, None, None]


def first_channel_only(frames_NCHW: Tensor) -> Tensor:
    """torchvision's Normalize((m,), (s,)) of 2017 on three channels."""
    normalised = frames_NCHW.clone()
    normalised[:, 0] = (normalised[:, 0] - FER_MEAN) / FER_STD
    return normalised


def caffe_input(frames_NCHW: Tensor, mean: Sequence[float] = (104, 117, 123)) -> Tensor:
    return frames_NCHW.flip(1) * 255 - torch.tensor(mean, dtype=torch.float32)[:, None, None]


def _conv(t: Tensors, name: str, x: Tensor, **how: int) -> Tensor:
    return conv2d(x, t[f"{name}.weight"], t.get(f"{name}.bias"), **how)


def _linear(t: Tensors, name: str, x: Tensor) -> Tensor:
    return linear(x, t[f"{name}.weight"], t[f"{name}.bias"])


def _vgg(t: Tensors, names: Sequence[object], x: Tensor, prefix: str = "") -> Tensor:
    for number, name in enumerate(names):
        x = relu(_conv(t, f"{prefix}{name}", x, padding=1))
        x = max_pool2d(x, 2, 2, ceil_mode=True) if number in _LAST else x
    return x.flatten(1)


def best7164(t: Tensors, frames_NCHW: Tensor) -> Tensor:
    x = _vgg(t, POSITIONS, first_channel_only(frames_NCHW), "pre_model.")
    x = relu(_linear(t, "pre_model.35.1", relu(_linear(t, "pre_model.32.1", x))))
    return _linear(t, "classifier", x)


def _gru(t: Tensors, name: str, x_TD: Tensor) -> Tensor:
    parts = {key.removeprefix(f"{name}."): value for key, value in t.items() if key.startswith(f"{name}.")}
    cell = nn.GRU(x_TD.shape[1], parts["weight_hh_l0"].shape[1], batch_first=True)
    cell.load_state_dict(parts)
    return cell(x_TD[None])[0][0]


def vgg_gru(t: Tensors, frames_TCHW: Tensor) -> Tensor:
    """Logits of one clip, [1, 7]."""
    x = relu(_linear(t, "fc6", _vgg(t, CONVS, imagenet(frames_TCHW))))
    return _linear(t, "classify", _gru(t, "gru", x).mean(0, keepdim=True))


def _face_trunk(t: Tensors, frames_NCHW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    def valid(x: Tensor, number: str) -> Tensor:
        stats = [t[f"bn{number}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return relu(batch_norm(_conv(t, f"conv{number}", x), *stats))

    def units(x: Tensor, layer: int, count: int) -> Tensor:
        for unit in range(count):
            inner = relu(_conv(t, f"layer{layer}.{unit}.conv1", x, padding=1))
            x = x + relu(_conv(t, f"layer{layer}.{unit}.conv2", inner, padding=1))
        return x

    p1 = max_pool2d(valid(valid(imagenet(frames_NCHW), "1_a"), "1_b"), 2)
    p3 = max_pool2d(valid(units(max_pool2d(valid(units(p1, 1, 1), "2"), 2), 2, 2), "3"), 2)
    x = units(max_pool2d(valid(units(p3, 3, 5), "4"), 2), 4, 3)
    return _linear(t, "fc5_new", x.flatten(1)), p1.flatten(1), p3.flatten(1)


def face_resnet(t: Tensors, frames_NCHW: Tensor) -> Tensor:
    return _linear(t, "fc8_final", _face_trunk(t, frames_NCHW)[0])


def resnet_gru(t: Tensors, frames_TCHW: Tensor) -> Tensor:
    """Logits of one clip, [1, 7]."""
    fc5, p1, p3 = _face_trunk(t, frames_TCHW)
    states = _gru(t, "gru1", fc5) + _gru(t, "gru2", _linear(t, "fc5_pool1b", p1))
    states = states + _gru(t, "gru3", _linear(t, "fc5_pool3", p3))
    return _linear(t, "fc8_final", states.mean(0, keepdim=True))


def vgg_face_caffe(t: Tensors, frames_NCHW: Tensor) -> Tensor:
    x = _vgg(t, CONVS, caffe_input(frames_NCHW))
    return _linear(t, "fc8_vgg", relu(_linear(t, "fc7", relu(_linear(t, "fc6", x)))))


def vlqr(t: Tensors, frames_NCHW: Tensor) -> Tensor:
    """Values [N]: MATLAB hands the network the transposed picture."""
    x = frames_NCHW.transpose(2, 3)
    for number, pool in ((1, 2), (2, 2), (3, 4)):
        x = max_pool2d(relu(_conv(t, f"conv{number}", x)), pool, pool, ceil_mode=True)
    return _linear(t, "fc5", relu(_linear(t, "fc4", x.flatten(1))))[:, 0]


def vtt(t: Tensors, frames_TCHW: Tensor, shift: bool = True) -> Tensor:
    """Logits of every frame of one clip, [T, 7]."""

    def norm(name: str, x: Tensor) -> Tensor:
        return batch_norm(x, *(t[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")))

    x = max_pool2d(relu(norm("bn1", _conv(t, "conv1", frames_TCHW, stride=2, padding=3))), 3, 2, padding=1)
    for layer in range(1, 5):
        for block in range(2):
            name, stride = f"layer{layer}.{block}", 2 if layer > 1 and block == 0 else 1
            y = relu(norm(f"{name}.bn1", _conv(t, f"{name}.conv1", x, stride=stride, padding=1)))
            y = norm(f"{name}.bn2", _conv(t, f"{name}.conv2", y, padding=1))
            if f"{name}.downsample.0.weight" in t:
                x = norm(f"{name}.downsample.1", _conv(t, f"{name}.downsample.0", x, stride=stride))
            x = relu(x + y)
        if shift and layer < 4:
            quarter = x.shape[1] // 4
            previous = [x[max(0, time - 1), :quarter] for time in range(len(x))]
            x = torch.cat([torch.stack(previous), x[:, quarter:]], dim=1)
    return _linear(t, "fc", x.mean((2, 3)))


_JOINS = {4: (6, 5), 3: (6, 5), 2: (5, 4, 6, 3), 1: (5, 4, 6, 3)}


def dsn_vgg(t: Tensors, frames_NCHW: Tensor, centred: bool = True) -> Tensor:
    """Logits of the fused output; the deconvolutions have the kernels of the file."""
    inputs = x = caffe_input(frames_NCHW)
    taps, number = {}, 0
    for stage, (_, depth) in enumerate(VGG, 1):
        for _ in range(depth):
            x = relu(_conv(t, CONVS[number], x, padding=5 if number == 0 else 1))
            number += 1
        taps[stage] = x
        x = max_pool2d(x, 2, 2, ceil_mode=True) if stage < 4 else max_pool2d(x, 3, 2, padding=1, ceil_mode=True)
    taps[6] = avg_pool2d(x, 3, 1, padding=1)
    return _fused(t, taps, inputs.shape[-1], sorted(taps), centred)


def dsn_resnet(t: Tensors, frames_NCHW: Tensor) -> Tensor:
    """Logits of the fused output; the file lists the map of stage 6 first."""

    def norm(name: str, x: Tensor) -> Tensor:
        stats = (
            t[f"bn{name}.running_mean"],
            t[f"bn{name}.running_var"],
            t[f"scale{name}.weight"],
            t[f"scale{name}.bias"],
        )
        return batch_norm(x, *stats)

    def branch(name: str, x: Tensor, **how: int) -> Tensor:
        return norm(name, _conv(t, f"res{name}", x, **how))

    inputs = caffe_input(frames_NCHW)
    x = relu(norm("_conv1", _conv(t, "conv1", inputs, stride=2, padding=3)))
    taps = {2: x}
    x = max_pool2d(x, 3, 2, ceil_mode=True)
    for group, blocks in DEEP.items():
        dilation = 2 if group == 5 else 1
        for block in blocks:
            name, stride = f"{group}{block}", 2 if block == "a" and group in (3, 4) else 1
            y = relu(branch(f"{name}_branch2a", x, stride=stride))
            y = relu(branch(f"{name}_branch2b", y, padding=dilation, dilation=dilation))
            shortcut = branch(f"{name}_branch1", x, stride=stride) if block == "a" else x
            x = relu(shortcut + branch(f"{name}_branch2c", y))
        taps[group + 1] = x
    return _fused(t, taps, inputs.shape[-1], [6, 2, 3, 4, 5], centred=True)


def _fused(t: Tensors, taps: dict[int, Tensor], size: int, order: Sequence[int], centred: bool) -> Tensor:
    maps: dict[int, Tensor] = {}

    def enlarged(name: str, stage: int, factor: int, side: int) -> Tensor:
        y = (
            conv_transpose2d(maps[stage], t[f"{name}.weight"], t[f"{name}.bias"], stride=factor)
            if factor > 1
            else maps[stage]
        )
        start = -(-(y.shape[-1] - side) // 2) if centred else 0
        return y[..., start : start + side, start : start + side]

    for stage in sorted(taps, reverse=True):
        kernel = t[f"conv1-dsn{stage}.weight"].shape[-1]
        own = _conv(t, f"conv3-dsn{stage}", relu(_conv(t, f"conv1-dsn{stage}", taps[stage], padding=kernel // 2)))
        if stage in _JOINS:
            factors = {deeper: 2 ** (deeper - stage) for deeper in _JOINS[stage]}
            joined = [enlarged(f"upsample{f}_dsn{d}", d, f, own.shape[-1]) for d, f in factors.items()]
            own = _conv(t, f"conv4-dsn{stage}", torch.cat([own, *joined], 1))
        maps[stage] = own
    full = [enlarged(f"upsample{2 ** (s - 1)}_in_dsn{s}", s, 2 ** (s - 1), size) for s in order]
    return _linear(t, "fc", _conv(t, "new-score-weighting", torch.cat(full, 1)).flatten(1))
