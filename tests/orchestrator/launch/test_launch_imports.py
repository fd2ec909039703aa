"""What a launch imports before it does anything: the file's mistakes and a finished study are answered at once."""

import subprocess
import sys

import pytest

HEAVY = {"torch", "torchvision", "segmentation_models_pytorch", "ray", "mlflow", "pandas", "scipy", "pyDOE3"} | {
    "matplotlib",
    "sklearn",
    "statsmodels",
}


@pytest.mark.parametrize("module", ["orchestrator.launch.one_launch", "orchestrator.report.statistics.sign_flip"])
def test_nothing_heavy_is_imported_before_it_is_needed(module):
    code = f"import sys, {module}; print(*sorted({HEAVY} & {{*sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not done.stdout.split()
