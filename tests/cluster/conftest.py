"""Where tests of clusters find hosts, which the benchmarks use too, and engines that train nothing."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path += [str(HERE.parents[1] / "benchmarks"), str(HERE.parent / "orchestrator")]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """They wait for machines: none is ended by the time that is enough for all other tests."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.timeout(900))
