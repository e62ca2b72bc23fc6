"""Declaration of a component: its parameters, and what is known about the stage for which it is built."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict


def _paths(value: Any) -> Iterator[Path]:
    """Yields every path in nested parameters."""
    if isinstance(value, Path):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _paths(inner)
    elif isinstance(value, list | tuple | set | frozenset):
        for inner in value:
            yield from _paths(inner)


class Params(BaseModel):
    """Base class of a component's parameters. Unknown keys are errors, and every field needs a description.

    Example:
        class TinyParams(Params):
            width: int = Field(16, ge=1, description="channels of the first layer")
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    def raw_files(self) -> Sequence[Path]:
        """Returns the files and folders of raw data: shards are written again when one of them changes.

        By default every path among the parameters. Override it if the parameters name files in another way.
        """
        return list(_paths(self.model_dump()))


@dataclass(frozen=True)
class Component:
    """The declaration of one dataset, degradation, backbone, head or locator, returned by a hook.

    Example:
        Component("tiny", "Two convolutions", TinyParams, "my_plugin.models:Tiny", examples=({"width": 8},))

    Attributes:
        name: short name, unique within the plugin, `[A-Za-z][A-Za-z0-9_]*`. The full name is `<plugin>/<name>`.
        summary: one line for `blear plugins` and the report.
        params: a subclass of `Params`. Its fields are the keys that a job may set beside `use`.
        build: a callable, called as `build(params, context)`, or its name "module:attribute", which is imported when
            the component is first built. The name keeps hooks free of heavy imports.
        examples: keyword arguments of `params`; the conformance suite builds and checks each. At least one.
        rename_tables: of a backbone or head, name -> table of parameter names in a published weight file: pattern of a
            name in the file -> name in the module, as `rename` of a job has it. A job names a table
            (`rename: vgg_face_caffe`), and `blear weights FILE --for NAME` proposes one.
    """

    name: str
    summary: str
    params: type[Params]
    build: Callable[..., Any] | str
    examples: Sequence[Mapping[str, Any]] = ({},)
    rename_tables: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class ClipSpec:
    """The shape of a clip: `length` frames (1 for still images) of `channels` x `height` x `width`.

    Attributes:
        length: frames of a clip; of the longest clip, if clips differ in length.
        channels: 1 for grey images, 3 for RGB.
        height: rows, in pixels.
        width: columns, in pixels.
        shortest: frames of the shortest clip, if clips differ in length; else None. A stage chooses the frames that it
            uses (`frames`); a clip that is too short is extended by repeating its last frame.
    """

    length: int
    channels: int
    height: int
    width: int
    shortest: int | None = None


@dataclass(frozen=True)
class Target:
    """One labelled quantity of a dataset.

    Attributes:
        name: for instance "emotion".
        kind: "class" for classification, with an index into `classes` as label; "value" for regression, with a float;
            "distribution" for soft labels, with the share of each class as label.
        classes: class names, in the order of their indices; empty for "value".
        bounds: smallest and largest value of a regression target; None: unbounded.
    """

    name: str
    kind: Literal["class", "value", "distribution"]
    classes: tuple[str, ...] = ()
    bounds: tuple[float, float] | None = None


@dataclass(frozen=True)
class BuildContext:
    """Information about the stage for which a component is built.

    Attributes:
        seed: the job's seed. Weights are initialised under this seed already; datasets may derive random streams of
            their own from it.
        clip: shape of the clips that the component receives; given to backbones, heads and degradations.
        targets: target name -> target of the stage's data; given to heads and degradations.
        features: feature name -> its shape for one clip, without the batch dimension; given to heads.
        counts: name of a class target -> number of samples of each class in the training split; given to heads.
        pretrained: whether initial weights are wanted; False: trained weights are loaded into the component after it
            is built, so that it downloads none.
    """

    seed: int = 0
    clip: ClipSpec | None = None
    targets: Mapping[str, Target] = field(default_factory=dict)
    features: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    counts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    pretrained: bool = True
