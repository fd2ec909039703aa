"""Runs a benchmark's commands, often enough for medians, and makes Markdown of what they print."""

import os
import re
import shlex
import string
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

from .catalog import ROOT, Benchmark, places

_NUMBER = re.compile(r" *-?\d[\d,]*(?:\.\d+)?")


class BenchmarkFailed(Exception):
    """A command ended with an error: its figures count for nothing."""


def measure(benchmark: Benchmark) -> tuple[str, list[str]]:
    """What the benchmark printed, as Markdown, and what a reader should know of the run.

    Raises:
        BenchmarkFailed: a command's exit code was not 0.
    """
    began, load = time.monotonic(), os.getloadavg()[0]
    runs = [_run(benchmark) for _ in range(benchmark.repeats)]
    printed = ["\n".join(_lines(outputs)) for outputs in zip(*runs, strict=True)]
    remarks = [f"`python -m benchmarks {benchmark.name}`"]
    remarks += [f"medians of {benchmark.repeats} runs"] * (benchmark.repeats > 1)
    remarks += [f"{time.monotonic() - began:.0f} s", f"load {load:.1f} to {os.getloadavg()[0]:.1f}"]
    remarks += [f"{os.cpu_count()} cores", f"Python {sys.version.split()[0]}"]
    if benchmark.markdown:
        return "\n\n".join(printed) + "\n", remarks
    commands = [f"$ python {command}" for command in benchmark.commands]
    texts = [f"{command}\n{output}" for command, output in zip(commands, printed, strict=True)]
    return "```text\n" + "\n\n".join(texts) + "\n```\n", remarks


def _run(benchmark: Benchmark) -> list[str]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as work:
        variables = {**places(), "WORK": work}
        return [_output(command, variables) for command in benchmark.commands]


def _output(command: str, variables: dict[str, str]) -> str:
    words = [string.Template(word).substitute(variables) for word in shlex.split(command)]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, **variables, "PYTHONPATH": path}
    with tempfile.TemporaryFile("w+") as errors:
        done = subprocess.run(
            [sys.executable, *words],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            check=False,
        )
        errors.seek(0)
        if done.returncode:
            last = "\n".join([*done.stdout.splitlines()[-10:], *errors.read().splitlines()[-10:]])
            raise BenchmarkFailed(f"python {command}: exit code {done.returncode}\n{last}")
    for name, value in variables.items():
        done.stdout = done.stdout.replace(value, f"${name}")
    return done.stdout.strip("\n")


def _lines(outputs: Sequence[str]) -> list[str]:
    """One output of several runs: every number is the median, as one of the runs printed it.

    Outputs whose words differ stand one after the other, as numbers of theirs cannot be compared.
    """
    if len({_NUMBER.sub("", output) for output in outputs}) > 1:
        return [line for number, output in enumerate(outputs, 1) for line in (f"run {number}:", *output.splitlines())]
    columns = [_NUMBER.findall(output) for output in outputs]
    medians = (sorted(column, key=_value)[len(column) // 2] for column in zip(*columns, strict=True))
    return _NUMBER.sub(lambda _: next(medians), outputs[0]).splitlines()


def _value(number: str) -> float:
    return float(number.replace(",", "").strip())
