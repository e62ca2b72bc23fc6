"""The conformance suite for authors of plugins: what every component must do, as checks with one message each.

    import pytest
    from blear.testing import checks_of

    @pytest.mark.parametrize("check", checks_of("sketch"), ids=str)
    def test_conforms(check):
        check()

The same checks run with `blear plugins check sketch` and with `pytest --pyargs blear.testing --blear-plugin sketch`.
"""

from __future__ import annotations

from blear.plugin.conformance.checks import Check, NonconformityError, NotCheckedError
from blear.plugin.conformance.suite import checks_of

__all__ = ["Check", "NonconformityError", "NotCheckedError", "checks_of"]
