"""The conformance suite for plugin authors: one check for each requirement of the contracts.

    import pytest
    from blear.testing import checks_of

    @pytest.mark.parametrize("check", checks_of("sketch"), ids=str)
    def test_conforms(check):
        check()

The same checks are run by `blear plugins check sketch` and by `pytest --pyargs blear.testing --blear-plugin sketch`.
"""

from __future__ import annotations

from blear.plugin.conformance.checks import Check, NonconformityError, NotCheckedError
from blear.plugin.conformance.suite import checks_of

__all__ = ["Check", "NonconformityError", "NotCheckedError", "checks_of"]
