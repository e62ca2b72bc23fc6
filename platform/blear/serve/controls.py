"""Controls: degradations of a face with one parameter each, as sliders of the page and parameters of the API."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from ruamel.yaml import YAML, YAMLError

from blear.degradation.arrays import parse_entries
from blear.errors import JobError, PluginError, first_line
from blear.plugin.catalog import Catalog
from blear.plugin.uses import DegradationEntry
from blear.serve.limits import UploadError

DEFAULT = Path(__file__).parent / "controls.yaml"
RESERVED = frozenset({"faces", "box", "show"})
"""Names of other parameters of the API."""

Setting = tuple[tuple[str, float], ...]
"""(name, value) of each control that is not off, in the order of the controls."""


class Control(BaseModel):
    """One parameter of a degradation."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str = Field(pattern="^[a-z][a-z0-9_]*$", description="name of the parameter of the API")
    label: str = Field(description="label of the slider")
    use: str = Field(description="the degradation")
    parameter: str = Field(description="its parameter")
    low: float = Field(description="least value")
    high: float = Field(description="greatest value")
    step: float = Field(gt=0, description="step of the slider")
    off: float = Field(description="value at which the degradation is left out")
    fixed: dict[str, Any] = Field({}, description="other parameters of the degradation", exclude=True)

    def entry(self, value: float) -> dict[str, Any]:
        """The degradation with this value, as a job writes it."""
        return {"use": self.use, self.parameter: int(value) if value == int(value) else value, **self.fixed}


def read_controls(file: Path, catalog: Catalog) -> list[Control]:
    """Reads a file of controls; of the default file, those whose degradations are installed.

    Raises:
        JobError: the file is missing or wrong.
        PluginError: a degradation of another file is not installed.
    """
    try:
        controls = TypeAdapter(list[Control]).validate_python(YAML(typ="safe", pure=True).load(file.read_text()))
    except ValidationError as error:
        first = error.errors()[0]
        raise JobError(
            f"{'.'.join(map(str, first['loc']))}: {first['msg']}", str(file), "see the default file"
        ) from error
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise JobError(f"no valid controls: {first_line(error)}", str(file), "see the default file") from error
    known = []
    for control in controls:
        try:
            catalog.get("degradation", control.use)
        except PluginError:
            if file != DEFAULT:
                raise
            continue
        known.append(control)
    names = [control.name for control in known]
    wrong = [name for name in names if names.count(name) > 1 or name in RESERVED]
    if wrong:
        raise JobError(f"the name {wrong[0]!r} is taken", str(file), "give each control a name of its own")
    return known


def read_setting(controls: Sequence[Control], values: Mapping[str, str]) -> Setting:
    """The controls that are not off.

    Args:
        values: name -> value, as the API gets them.

    Raises:
        UploadError: there is no such control, or a value is no number in its range.
    """
    unknown = sorted(set(values) - {control.name for control in controls})
    if unknown:
        known = ", ".join([*sorted(RESERVED), *(control.name for control in controls)])
        raise UploadError(f"there is no parameter {unknown[0]!r}", do=f"use: {known}")
    setting = []
    for control in controls:
        text = values.get(control.name)
        if text is None:
            continue
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not control.low <= value <= control.high:
            do = f"give a number from {control.low:g} to {control.high:g}"
            raise UploadError(f"{control.name}: {text[:40]!r} is out of range", do=do)
        if value != control.off:
            setting.append((control.name, value))
    return tuple(setting)


def entries(controls: Sequence[Control], setting: Setting) -> list[DegradationEntry]:
    """The degradations of a setting."""
    by_name = {control.name: control for control in controls}
    return parse_entries([by_name[name].entry(value) for name, value in setting])
