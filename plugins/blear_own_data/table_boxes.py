"""Face boxes of a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from blear.errors import DataError
from blear.imaging import Box
from blear_own_data.labels import as_number
from blear_own_data.table_params import TableParams

_MOST_SHARES = 3.0  # a box in shares may reach beyond the picture, but no value is as large as this


def read_box(columns: Mapping[str, Any], params: TableParams, where: str) -> Callable[[int, int], Box]:
    """Returns a function `box(height, width)` that gives a row's box in pixels, with its margin.

    Args:
        columns: side -> value of the row.
        params: unit, margin and shape of the boxes.
        where: names file and row in messages.

    Raises:
        DataError: a value is no number, the box has no area, or its unit is another one.
    """
    sides = {}
    for side, raw in columns.items():
        try:
            sides[side] = as_number(raw)
        except ValueError as error:
            raise DataError(f"box, {side} {error}", where, "fix the row") from error
    left, top = sides["left"], sides["top"]
    width = sides["width"] if "width" in sides else sides["right"] - left
    height = sides["height"] if "height" in sides else sides["bottom"] - top
    if width <= 0 or height <= 0:
        raise DataError(f"the box is {width:g} wide and {height:g} high", where, "fix the row")
    shares = params.box_unit == "shares"
    if shares and max(abs(left), abs(top), width, height) > _MOST_SHARES:
        raise DataError(f"the box {sides} is not in shares of the picture", where, "set `box_unit: pixels`")
    if not shares and max(left + width, top + height) <= 1:
        raise DataError(f"the box {sides} has less than one pixel", where, "set `box_unit: shares`")

    def box(rows: int, columns: int) -> Box:
        scale = (columns, rows) if shares else (1, 1)
        found = Box(left * scale[0], top * scale[1], width * scale[0], height * scale[1]).grown(params.margin)
        return found.squared() if params.square else found

    return box
