"""Checks of a head."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from blear.contracts import Batch, BuildContext, Categories, ClipSpec, Head, Images, Metric, Target, Values
from blear.errors import BlearError
from blear.plugin.catalog import Catalog, RegisteredComponent
from blear.plugin.conformance.checks import (
    Check,
    NonconformityError,
    accelerator,
    expect,
    expect_close,
    for_each_example,
    shape,
)
from blear.plugin.conformance.modules import (
    CLIPS,
    OTHER_SEED,
    backbone_for,
    expect_same_start,
    expect_saves,
    frames_for,
    seeded,
)
from blear.plugin.decoded_targets import target_metrics
from blear.plugin.memory_format import to_channels_last

_CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
_VALUES = ("valence", "arousal")
_WIDTH = 16
_TRIED, _MOST_CLASSES = 3, 10_000


def head_checks(registered: RegisteredComponent, catalog: Catalog) -> Iterator[Check]:
    """Iterates over the checks of each example, with generated features or those of the plugin's backbones."""
    requirements: dict[str, Callable[[_Built], None]] = {
        "has the methods of the contract": _has_methods,
        "returns a loss that can be trained": _loss,
        "decodes its outputs": _decodes,
        "its metrics can be computed": _metrics,
        "a batch equals its samples one by one": _one_by_one,
        "accepts empty batches and single samples": _few,
        "has equal initial weights under one seed": lambda built: expect_same_start(built.make),
        "saves and loads": lambda built: expect_saves(built.make, lambda: built.make(OTHER_SEED), built.loss),
        "moves to a device": _moves,
    }
    return for_each_example(registered, requirements, lambda example: _Built(registered, example, catalog))


def head_for(
    registered: RegisteredComponent, example: Any, catalog: Catalog, shapes: Sequence[tuple[int, ...]]
) -> nn.Module:
    """Builds a head for the features and classes that most of the tensors of a weight file fit.

    Widths of features and numbers of classes are tried from the shapes of the file's matrices.

    Args:
        registered: the head.
        example: its parameters.
        catalog: the loaded plugins.
        shapes: of the tensors in the file, in their order.
    """
    matrices = [shape for shape in reversed(shapes) if len(shape) > 1]
    widths = list(dict.fromkeys(shape[1] for shape in matrices))[:_TRIED]
    counts = list(dict.fromkeys(shape[0] for shape in matrices if 1 < shape[0] <= _MOST_CLASSES))[:_TRIED]
    built = []
    for width, count in itertools.product([*widths, _WIDTH], [*counts, len(_CLASSES)]):
        features = {"embedding": torch.zeros(1, 1, width)}
        classes = _CLASSES if count == len(_CLASSES) else tuple(f"class{n}" for n in range(count))
        try:
            built.append(_Built(registered, example, catalog, classes, [(features, CLIPS[0])]).module)
        except NonconformityError:
            continue
    if not built:
        return _Built(registered, example, catalog).module
    return max(built, key=lambda module: sum(tuple(t.shape) in shapes for t in module.state_dict().values()))


class _Built:
    """A head built for the first features that it accepts, and a batch for it."""

    def __init__(
        self,
        registered: RegisteredComponent,
        example: Any,
        catalog: Catalog,
        classes: tuple[str, ...] = _CLASSES,
        offers: Iterable[tuple[dict[str, Tensor], ClipSpec]] | None = None,
    ) -> None:
        self._registered, self._example = registered, example
        refused: list[str] = []
        for features, clip in _offers(registered, catalog) if offers is None else offers:
            shapes = {name: tuple(value.shape[1:]) for name, value in features.items()}
            for targets in _targets(registered, example, classes):
                counts = {name: (9,) * len(t.classes) for name, t in targets.items() if t.kind == "class"}
                self.context = BuildContext(seed=1, clip=clip, targets=targets, features=shapes, counts=counts)
                try:
                    self.module = self.make()
                    with torch.no_grad():
                        self.module(features)
                except BlearError as error:
                    refused.append(error.what)
                    continue
                self.features, self.targets, self.clip = features, targets, clip
                return
        expect(False, "build", "the features of some backbone to be accepted", "; ".join(dict.fromkeys(refused)))

    def make(self, *seed: int) -> nn.Module:
        return seeded(self._registered, self._example, self.context, *seed).eval()

    @torch.no_grad()
    def loss(self, module: nn.Module) -> dict[str, Tensor]:
        """Loss of the batch, by the name of the method for messages."""
        return {"loss": _loss_of(self, slice(None), module)}

    def some(self, rows: slice) -> tuple[dict[str, Tensor], Batch]:
        """Returns the features of some clips and their batch."""
        features = {name: value[rows] for name, value in self.features.items()}
        count = len(next(iter(self.features.values())))
        labels = {
            name: torch.from_numpy(_labels(target, count)).to(torch.int64 if target.kind == "class" else torch.float32)
            for name, target in self.targets.items()
        }
        frames = frames_for(self.clip, count)[rows]
        return features, Batch(frames, frames, {name: value[rows] for name, value in labels.items()})


def _targets(registered: RegisteredComponent, example: Any, labels: tuple[str, ...]) -> list[dict[str, Target]]:
    """Returns targets that a head may need, in several mixtures of kinds.

    The names are the strings in its parameters whose names contain `target`, and usual names.
    """
    named: list[str] = []
    for key, wanted in dict(registered.params(example)).items():
        if "target" in key:
            given = [wanted] if isinstance(wanted, str) else list(wanted) if isinstance(wanted, list | tuple) else []
            named += [name for name in given if isinstance(name, str)]
    names = list(dict.fromkeys([*named, "emotion", "label"]))
    classes = {name: Target(name, "class", classes=labels) for name in names}
    values = {name: Target(name, "value", bounds=(-1.0, 1.0)) for name in (*named, *_VALUES)}
    shares = {name: Target(name, "distribution", classes=labels) for name in names}
    usual = values | {name: target for name, target in classes.items() if name not in _VALUES}
    return [usual, values | classes, classes | values, usual | shares]


def _labels(target: Target, count: int) -> np.ndarray:
    """Returns different labels that a target allows."""
    if target.kind == "class":
        return np.arange(count) % len(target.classes)
    if target.kind == "distribution":
        return np.random.default_rng(count).dirichlet(np.ones(len(target.classes)), count)
    return np.linspace(*(target.bounds or (-1.0, 1.0)), count)


def _offers(registered: RegisteredComponent, catalog: Catalog) -> Iterator[tuple[dict[str, Tensor], ClipSpec]]:
    """Iterates over features of four clips: generated ones first, then those of the plugin's backbones."""
    generator = torch.Generator().manual_seed(3)
    for clip in CLIPS[:2]:
        yield {"embedding": torch.randn(4, clip.length, _WIDTH, generator=generator)}, clip
    for clip in CLIPS[:2]:
        maps = torch.randn(4, clip.length, _WIDTH, 12, 12, generator=generator)
        yield {"embedding": torch.randn(4, clip.length, _WIDTH, generator=generator), "map": maps}, clip
    for name, backbone in catalog.components["backbone"].items():
        if backbone.plugin == registered.plugin:
            for example in backbone.component.examples:
                module, context = backbone_for(catalog.get("backbone", name), example)
                assert context.clip is not None
                with torch.no_grad():
                    yield dict(module(frames_for(context.clip, 4))), context.clip


def _has_methods(built: _Built) -> None:
    kind = type(built.module).__name__
    expect(isinstance(built.module, Head), "build", "loss, metrics and decode (contracts.Head)", kind)


def _loss_of(built: _Built, rows: slice, module: Any = None) -> Tensor:
    features, batch = built.some(rows)
    module = built.module if module is None else module
    loss = module.loss(module(features), batch)
    expect(isinstance(loss, Tensor) and loss.ndim == 0, "loss", "a scalar tensor", shape(loss))
    found: Tensor = loss
    return found


def _loss(built: _Built) -> None:
    module: Any = to_channels_last(built.make().train())
    features, batch = built.some(slice(None))
    leaves = {name: value.detach().clone().requires_grad_() for name, value in features.items()}
    loss = module.loss(module(leaves), batch)
    expect(isinstance(loss, Tensor) and loss.ndim == 0, "loss", "a scalar tensor", shape(loss))
    expect(bool(torch.isfinite(loss)), "loss", "a finite number", float(loss.detach()))
    loss.backward()
    reached = any(value.grad is not None for value in leaves.values())
    expect(reached, "loss", "a gradient that reaches the features", "none")


def _decodes(built: _Built) -> None:
    features, _ = built.some(slice(None))
    with torch.no_grad():
        decoded = built.module.decode(built.module(features))  # type: ignore[operator]
    expect(
        isinstance(decoded, Mapping) and len(decoded) > 0, "decode", "target name -> decoded", type(decoded).__name__
    )
    for name, value in decoded.items():
        method = f"decode()[{name!r}]"
        expect(isinstance(value, Values | Categories | Images), method, "Values, Categories or Images", type(value))
        if isinstance(value, Categories):
            p = value.probabilities_BTK
            expect(p.ndim == 3 and len(p) == 4, method, "probabilities [B, T, K] with B = 4", shape(p))
            expect(p.shape[2] == len(value.classes), method, f"K = {len(value.classes)} classes", shape(p))
            expect_close(method, "probabilities that sum to 1", torch.ones(p.shape[:2]), p.sum(dim=2).float())
            if name in built.targets:
                expect(value.classes == built.targets[name].classes, method, "the target's classes", value.classes)
        elif isinstance(value, Values):
            expect(value.values_BT.ndim == 2 and len(value.values_BT) == 4, method, "[B, T]", shape(value.values_BT))
        else:
            expect(value.frames_BTCHW.ndim == 5, method, "[B, T, C, h, w]", shape(value.frames_BTCHW))


def _metrics(built: _Built) -> None:
    features, _ = built.some(slice(None))
    with torch.no_grad():
        decoded = built.module.decode(built.module(features))  # type: ignore[operator]
    given = built.module.metrics()  # type: ignore[operator]
    if isinstance(given, Mapping):
        expect(given.keys() <= decoded.keys(), "metrics", f"decoded targets: {', '.join(decoded)}", ", ".join(given))
    for metric in itertools.chain.from_iterable(given.values()) if isinstance(given, Mapping) else given:
        expect(isinstance(metric, Metric), "metrics", "Metric objects", type(metric).__name__)
    for name, metrics in target_metrics(built.module, decoded, built.targets).items():
        names = [metric.name for metric in metrics]
        expect(len(set(names)) == len(names), "metrics", "distinct names", names)
        classes = decoded[name].classes if isinstance(decoded[name], Categories) else ()
        kind: Any = "class" if classes else "value"
        _computed(metrics, built.targets.get(name, Target(name, kind, tuple(classes))))


def _computed(metrics: Sequence[Metric], target: Target) -> None:
    truth = _labels(target, 12)
    for metric in metrics:
        right, wrong = metric.compute(truth, truth), metric.compute(truth, np.roll(truth, 1, axis=0))
        expect(np.isscalar(right), f"metrics, {metric.name}", "a number", type(right).__name__)
        better = right > wrong if metric.higher_is_better else right < wrong
        way = "higher" if metric.higher_is_better else "lower"
        expect(
            bool(better), f"metrics, {metric.name}", f"correct predictions to be {way} than wrong ones", (right, wrong)
        )


def _one_by_one(built: _Built) -> None:
    with torch.no_grad():
        whole = _loss_of(built, slice(None))
        alone = torch.stack([_loss_of(built, slice(n, n + 1)) for n in range(4)]).mean()
    expect_close("loss", "in eval() the mean of the clips' own losses", alone, whole, 1e-3)


def _few(built: _Built) -> None:
    for count in (0, 1):
        features, _ = built.some(slice(0, count))
        with torch.no_grad():
            decoded = built.module.decode(built.module(features))  # type: ignore[operator]
        for name, value in decoded.items():
            rows = value.values_BT if isinstance(value, Values) else None
            rows = value.probabilities_BTK if isinstance(value, Categories) else rows
            rows = value.frames_BTCHW if isinstance(value, Images) else rows
            right = rows is not None and len(rows) == count
            expect(right, f"decode()[{name!r}]", f"{count} clips of a batch of {count}", shape(rows))


def _moves(built: _Built) -> None:
    device = accelerator()
    features, batch = built.some(slice(None))
    here = _loss_of(built, slice(None))
    module: Any = built.module.to(device)
    there_features = {name: value.to(device) for name, value in features.items()}
    targets = {name: value.to(device) for name, value in batch.targets.items()}
    there = Batch(batch.frames_BTCHW.to(device), batch.clean_BTCHW.to(device), targets)
    loss = module.loss(module(there_features), there)
    expect_close("loss", "on the GPU what it is on the CPU", here.detach(), loss.detach().cpu(), 1e-2)
