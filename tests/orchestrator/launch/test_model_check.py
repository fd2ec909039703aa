"""Models are checked in a process that ends: the driver stays small, and says what it said."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.errors import InputError
from orchestrator.launch.preflight import check_models, needs_torch
from orchestrator.studyfile import Study, load

pytestmark = pytest.mark.integration
SHAPES = Path(__file__).parents[3] / "search_spaces" / "shapes.yaml"
PAN = ("model.arch={choice: [fpn, pan]}", "data.train_images=40")
CODE = f"""
import sys
from orchestrator.errors import InputError
from orchestrator.launch.preparation import prepare
from orchestrator.studyfile import load
from orchestrator.terminal.console import open_console
for settings in ({PAN!r}, ("model.encoder=mobilenet_v2",)):
    try:
        prepare(load(sys.argv[1], settings), open_console())
    except InputError as refusal:
        print(refusal)
print("torch" in sys.modules)
"""


def test_torch_stays_out_of_the_driver(study: Callable[..., Study]):
    refused = study(*PAN)
    assert needs_torch(refused)
    assert not needs_torch(study("model.encoder=resnet18"))
    assert not needs_torch(load(SHAPES))
    with pytest.raises(InputError) as told:
        check_models(refused)
    command = [sys.executable, "-c", CODE, str(refused.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = [line for line in done.stdout.splitlines() if not line.startswith("Checking")]
    assert lines == [*str(told.value).splitlines(), "False"]
