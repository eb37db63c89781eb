"""MLflow needs longer to make its tables than these tests to fill them."""

import pytest

from tests import databases


@pytest.fixture(autouse=True)
def copied_databases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give new stores copies of one empty database."""
    databases.copied(monkeypatch)
