"""The command with an engine that trains nothing: ``python fake_sweep.py SPEC ...``, or a script that ends in it."""

import runpy
from functools import partial

from orchestrator.launch import one_launch

one_launch.Target = partial(one_launch.Target, fit="noted_fit:noted")  # type: ignore[assignment,misc]
runpy.run_module("orchestrator.sweep", run_name="__main__")
