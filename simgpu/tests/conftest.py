"""Every test that takes a `version` runs with both PyTorch versions."""

import pytest
from harness import VERSIONS, python_of


@pytest.fixture(scope="session", params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    python_of(request.param)
    return request.param
