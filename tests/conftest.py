"""What every test needs: a cache of its own, never the user's."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DROPCLASS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
