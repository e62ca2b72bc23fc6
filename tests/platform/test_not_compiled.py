"""`contracts.not_compiled`: a compiled caller calls the function as Python."""

from __future__ import annotations

import torch

from blear.contracts import not_compiled


def test_a_compiled_caller_calls_the_function_as_python() -> None:
    sizes: dict[int, float] = {}

    @not_compiled
    def remember(size: int) -> float:
        assert not torch.compiler.is_compiling()
        return sizes.setdefault(size, float(len(sizes) + 1))

    compiled = torch.compile(lambda x: x * remember(x.shape[0]) + 1, backend="eager")
    assert compiled(torch.ones(3)).tolist() == [2, 2, 2]
    assert compiled(torch.ones(3)).tolist() == [2, 2, 2]
    assert sizes == {3: 1.0}
    assert remember(3) == 1.0
