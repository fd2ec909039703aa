"""``pytest tests/gpu``: its summary, and each test that failed."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from gpu_sections.trials import Row

ROOT = Path(__file__).resolve().parents[2]


def measure(tiny: bool) -> Iterator[Row]:
    """Yield a row per line of the summary."""
    # not in one group: here nothing else wants the processors
    command = [sys.executable, "-m", "pytest", "tests/gpu", "-q", "-n", "1" if tiny else "6", "--dist", "load"]
    run = subprocess.run([*command, "-p", "no:cacheprovider", "--tb=line"], cwd=ROOT, capture_output=True, text=True)
    lines = run.stdout.strip().splitlines()
    for line in [line for line in lines if line.startswith(("FAILED", "ERROR"))][:40]:
        yield {"tests/gpu": line}
    yield {"tests/gpu": lines[-1] if lines else run.stderr.strip()[-500:]}
