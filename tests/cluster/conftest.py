"""Where tests of clusters find hosts, which the benchmarks use too, and engines that train nothing."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path += [str(ROOT / "benchmarks"), str(ROOT / "tests/orchestrator")]
