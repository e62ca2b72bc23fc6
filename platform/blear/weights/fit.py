"""How the tensors of a weight file fit a module: by name, by a rename table, or by the order of their shapes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from blear.errors import JobError
from blear.weights.rename_keys import rename_keys

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Fit:
    """The result of one rename table.

    Attributes:
        label: name of the table; "" for the names as they are, "by order" (from the end) for a proposed table.
        table: pattern of a name in the file -> name in the module.
        taken: name in the file -> name in the module, of the tensors whose name and shape fit.
        left: name in the file -> reason, of the other tensors.
        missing: names of the module's tensors that the file does not give.
    """

    label: str
    table: Mapping[str, str]
    taken: Mapping[str, str]
    left: Mapping[str, str]
    missing: tuple[str, ...]


def best_fit(file: Mapping[str, Shape], module: Mapping[str, Shape], tables: Mapping[str, Mapping[str, str]]) -> Fit:
    """Returns the fit that takes the most tensors: as they are, by a table, without a prefix, by order.

    Args:
        file: name -> shape of the tensors in the file.
        module: name -> shape of the parameters and buffers of the module.
        tables: name -> rename table.
    """
    tried = {"": {}, **tables, "without a prefix": _prefix(file, module), "by order": _by_order(file, module)}
    tried["by order from the end"] = _by_order(file, module, from_end=True)
    fits = [fit for label, table in tried.items() if (fit := _fit(label, table, file, module)) is not None]
    return max(fits, key=lambda fit: len(fit.taken))  # the first of equal ones


def shapes_agree(given: Shape, own: Shape) -> bool:
    """Whether tensors of these shapes can hold the same numbers in the same order.

    They are equal but for dimensions of size 1, or one flattens the other: [n, c h w] and [n, c, h, w].
    """
    if [size for size in given if size != 1] == [size for size in own if size != 1]:
        return True
    few, many = sorted((given, own), key=len)
    return (len(few), len(many)) == (2, 4) and few == (many[0], many[1] * many[2] * many[3])


def _fit(label: str, table: Mapping[str, str], file: Mapping[str, Shape], module: Mapping[str, Shape]) -> Fit | None:
    try:
        names = rename_keys(list(file), table)
    except JobError:  # a pattern of the table matches nothing: the file is another one
        return None
    taken, left = {}, {}
    for name, new in names.items():
        if new not in module:
            left[name] = "no such name"
        elif not shapes_agree(file[name], module[new]):
            left[name] = f"shape {list(file[name])}, here {list(module[new])}"
        else:
            taken[name] = new
    missing = tuple(name for name in module if name not in taken.values())
    return Fit(label, table, taken, left, missing)


def _prefix(file: Mapping[str, Shape], module: Mapping[str, Shape]) -> dict[str, str]:
    """The table that removes the first component of the names where the rest is a name of the module."""
    prefixes = [name.partition(".")[0] for name in file if name.partition(".")[2] in module]
    return {f"{max(prefixes, key=prefixes.count)}.*": "*"} if prefixes else {}


def _by_order(file: Mapping[str, Shape], module: Mapping[str, Shape], *, from_end: bool = False) -> dict[str, str]:
    """Pairs the layers of file and module in order while all their tensors agree.

    From the end, the last layers of a whole network are paired with those of a head.
    """
    table: dict[str, str] = {}
    step = -1 if from_end else 1
    ours = iter(list(_layers(module).items())[::step])
    for name, tensors in list(_layers(file).items())[::step]:
        own = next(((layer, of) for layer, of in ours if of.keys() == tensors.keys()), None)
        if own is None or not all(shapes_agree(tensors[key], own[1][key]) for key in tensors):
            break
        if name != own[0]:
            table[f"{name}.*"] = f"{own[0]}.*"
    return table


def _layers(tensors: Mapping[str, Shape]) -> dict[str, dict[str, Shape]]:
    """Layer -> its tensors, in order: conv1 -> {weight: ..., bias: ...}; without counters of batch normalisation."""
    layers: dict[str, dict[str, Shape]] = {}
    for name, shape in tensors.items():
        layer, _, key = name.rpartition(".")
        if key != "num_batches_tracked":
            layers.setdefault(layer, {})[key] = shape
    return layers
