"""The chaos benchmark, short: a real study under two kills equals the same study left in peace."""

from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.integration
@pytest.mark.timeout(900)  # with ranks each attempt has two processes that import torch
@pytest.mark.parametrize("kind", ["local", "ranks"])
def test_two_kills_change_nothing(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    for name in ("CHAOS_TRACE", "OMP_NUM_THREADS", "PYTHONPATH"):
        monkeypatch.setenv(name, "1" if name.startswith("OMP") else "")  # what it sets is taken back
    import chaos

    said: list[str] = []
    code = chaos.chaos(tmp_path, kills=2, seed=0, short=True, say=said.append, **{kind: True})
    assert code == 0, "\n".join(said)
    assert any(line.startswith("kills ") and " 2: " in line for line in said), "\n".join(said)
