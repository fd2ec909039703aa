"""Validating a study file is fast: it imports no framework."""

import subprocess
import sys
from pathlib import Path

HEAVY = ["torch", "ray", "optuna", "mlflow", "pandas", "numpy"]
CODE = f"""
import sys, time
start = time.process_time()
from orchestrator.studyfile import load
load(sys.argv[1])
heavy = [name for name in {HEAVY} if name in sys.modules]
assert not heavy, heavy
assert time.process_time() - start < 2, "its own time: another load does not count"
"""


def test_loading_imports_no_framework_and_is_fast(write):
    root = Path(__file__).parents[3]
    subprocess.run([sys.executable, "-c", CODE, str(write())], check=True, cwd=root)
    schema = "import sys; import orchestrator.studyfile.schema; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", schema], check=True, cwd=root)
