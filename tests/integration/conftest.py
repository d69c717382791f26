"""What several rooms look at, and nobody changes for good."""

from __future__ import annotations

import pytest

from tests.conftest import S3
from tests.replicas import POINTS, ROWS_EACH, ReplicatedDatabase


@pytest.fixture(scope="session")
def plain(s3: S3, tmp_path_factory: pytest.TempPathFactory) -> ReplicatedDatabase:
    """POINTS restore points; the state at transaction n has n * ROWS_EACH rows."""
    database = ReplicatedDatabase(tmp_path_factory.mktemp("plain"), s3.replica())
    for _ in range(POINTS):
        database.fill(ROWS_EACH)
        database.ship()
    database.close()
    return database
