"""What every test needs: a cache of its own, never the user's, and one core: a second process runs tests beside it."""

import os
from collections.abc import Iterator

import pytest
from xdist.scheduler import LoadScopeScheduling

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported


TOGETHER = (
    "tests/trainable/ranks/test_ranks.py",
    "tests/orchestrator/tracking/test_model_artifact.py",
    "tests/orchestrator/api/test_compared_studies.py",
)
"""Modules whose tests share what takes long to make: one process runs them, so that it is made once."""


class OneMachine(LoadScopeScheduling):  # type: ignore[misc]
    """Tests of clusters run one after the other, beside all others; each of those goes to whoever is free."""

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        return "cluster" if nodeid.startswith("tests/cluster/") else module if module in TOGETHER else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> OneMachine:
    """Used in place of ``--dist loadgroup``: with pytest 9.2, xdist 3.8 cannot write the groups into a test's id."""
    return OneMachine(config, log)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DROPCLASS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
