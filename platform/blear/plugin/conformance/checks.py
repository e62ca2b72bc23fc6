"""One check, the way it fails, and what checks of all slots share."""

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
"""Largest difference between a batch and its samples one by one; sums differ with the size of a batch."""


class NonconformityError(AssertionError):
    """A component breaks the contract: which method, what was expected, what came."""

    def __init__(self, method: str, expected: str, got: str) -> None:
        super().__init__(method, expected, got)
        self.method, self.expected, self.got = method, expected, got

    def __str__(self) -> str:
        return f"{self.method}: expected {self.expected}, got {self.got}"


class NotCheckedError(Exception):
    """This cannot be checked here, for instance without the raw data; the text says why."""


@dataclass(frozen=True)
class Check:
    """One question to one component with one set of parameters; call it to ask.

    Attributes:
        component: full name.
        example: number of the component's example.
        question: what is asked, a few words.
        ask: raises `NonconformityError` or `NotCheckedError`.
    """

    component: str
    example: int
    question: str
    ask: Callable[[], None]

    def __call__(self) -> None:
        """Asks.

        Raises:
            NonconformityError: the answer is no; also where the component raises what is no `BlearError`.
            NotCheckedError: it cannot be asked here.
        """
        try:
            self.ask()
        except (NonconformityError, NotCheckedError):
            raise
        except BlearError as error:
            raise NonconformityError(self.question, "an answer", f"{type(error).__name__}: {error}") from error
        except Exception as error:
            raise NonconformityError(self.question, "an answer", f"{type(error).__name__}: {error}") from error

    def __str__(self) -> str:
        return f"{self.component} [{self.example}] {self.question}"


def for_each_example(
    registered: RegisteredComponent, questions: Mapping[str, Callable[[B], None]], build: Callable[[Any], B]
) -> Iterator[Check]:
    """Every question to every example of a component, each to one that `build` makes anew of the example."""
    for number, example in enumerate(registered.component.examples):
        for question, ask in questions.items():
            yield Check(registered.name, number, question, partial(_ask, ask, build, example))


def _ask(ask: Callable[[B], None], build: Callable[[Any], B], example: Any) -> None:
    ask(build(example))


def expect(condition: bool, method: str, expected: str, got: Any) -> None:
    """Raises `NonconformityError` unless the condition holds."""
    if not condition:
        raise NonconformityError(method, expected, str(got))


def shape(value: Any) -> str:
    """What a value is, for messages: dtype and shape of a tensor, else its type."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    return type(value).__name__


def expect_close(method: str, expected: str, wanted: Tensor, found: Tensor, tolerance: float = TOLERANCE) -> None:
    """Both tensors have one shape and differ by at most `tolerance`, relative to the larger of 1 and the values."""
    expect(wanted.shape == found.shape, method, f"{expected}: {shape(wanted)}", shape(found))
    if wanted.numel():
        scale = max(1.0, float(wanted.detach().abs().max()))
        off = float((wanted.detach().double() - found.detach().double()).abs().max())
        expect(off <= tolerance * scale, method, f"{expected} (within {tolerance * scale:g})", f"{off:g} apart")


def accelerator() -> torch.device:
    """The device beside the CPU.

    Raises:
        NotCheckedError: there is none.
    """
    if not torch.cuda.is_available():
        raise NotCheckedError("no GPU on this machine")
    return torch.device("cuda")
