"""A check, its errors, and helper functions of the checks of all slots."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from blear.errors import BlearError
from blear.plugin.catalog import RegisteredComponent

B = TypeVar("B")

TOLERANCE = 1e-4
"""Largest accepted difference between a batch and its samples one by one; rounding depends on the batch size."""


class NonconformityError(AssertionError):
    """A component does not meet a requirement: the method, the expected and the actual result."""

    def __init__(self, method: str, expected: str, got: str) -> None:
        super().__init__(method, expected, got)
        self.method, self.expected, self.got = method, expected, got

    def __str__(self) -> str:
        return f"{self.method}: expected {self.expected}, got {self.got}"


class NotCheckedError(Exception):
    """A requirement cannot be checked here, for instance because raw data is missing; the message gives the reason."""


@dataclass(frozen=True)
class Check:
    """One requirement for one component with one of its examples. Call the check to run it.

    Attributes:
        component: full name.
        example: index of the component's example.
        requirement: the requirement in a few words.
        run: runs the check; raises `NonconformityError` or `NotCheckedError`.
    """

    component: str
    example: int
    requirement: str
    run: Callable[[], None]

    def __call__(self) -> None:
        """Runs the check.

        Raises:
            NonconformityError: the requirement is not met, or the component raised an error.
            NotCheckedError: the requirement cannot be checked here.
        """
        try:
            self.run()
        except (NonconformityError, NotCheckedError):
            raise
        except BlearError as error:
            raise NonconformityError(self.requirement, "no error", f"{type(error).__name__}: {error}") from error
        except Exception as error:
            raise NonconformityError(self.requirement, "no error", f"{type(error).__name__}: {error}") from error

    def __str__(self) -> str:
        return f"{self.component} [{self.example}] {self.requirement}"


def for_each_example(
    registered: RegisteredComponent, requirements: Mapping[str, Callable[[B], None]], build: Callable[[Any], B]
) -> Iterator[Check]:
    """Iterates over one check for each example and requirement; each check builds the component anew with `build`."""
    for number, example in enumerate(registered.component.examples):
        for requirement, run in requirements.items():
            yield Check(registered.name, number, requirement, partial(_run, run, build, example))


def _run(run: Callable[[B], None], build: Callable[[Any], B], example: Any) -> None:
    run(build(example))


def expect(condition: bool, method: str, expected: str, got: Any) -> None:
    """Raises `NonconformityError` unless the condition holds."""
    if not condition:
        raise NonconformityError(method, expected, str(got))


def shape(value: Any) -> str:
    """Describes a value for messages: dtype and shape of a tensor, else the type."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    return type(value).__name__


def expect_close(method: str, expected: str, wanted: Tensor, found: Tensor, tolerance: float = TOLERANCE) -> None:
    """Raises `NonconformityError` unless shapes agree and values differ by at most tolerance * max(1, |wanted|)."""
    expect(wanted.shape == found.shape, method, f"{expected}: {shape(wanted)}", shape(found))
    if wanted.numel():
        scale = max(1.0, float(wanted.detach().abs().max()))
        off = float((wanted.detach().double() - found.detach().double()).abs().max())
        expect(off <= tolerance * scale, method, f"{expected} (within {tolerance * scale:g})", f"{off:g} apart")


def accelerator() -> torch.device:
    """Returns the CUDA device.

    Raises:
        NotCheckedError: there is no GPU.
    """
    if not torch.cuda.is_available():
        raise NotCheckedError("no GPU on this machine")
    return torch.device("cuda")
