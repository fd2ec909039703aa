"""What every test needs: a cache of its own, never the user's, and one core: a second process runs tests beside it."""

import os
from collections.abc import Iterator

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that start Ray, SLURM or hosts, or use the GPU, run one after the other, beside the others."""
    for item in items:
        if any(item.get_closest_marker(name) for name in ("integration", "gpu", "cluster")):
            item.add_marker(pytest.mark.xdist_group("machine"))


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DROPCLASS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
