"""``python -m trainable`` and ``orchestrator.sweep`` tell a mistake in the same words, at the same line.

``python tests/orchestrator/test_same_words.py`` prints the table.
"""

import contextlib
import io
import tempfile
from pathlib import Path

import pytest

from orchestrator.sweep import main as sweep
from trainable.__main__ import main as run_trial

HEAD, TAIL = "study: s\nobjective: {metric: val/miou, mode: max}\n", "search: {trials: 1}\n"
TRIAL = {
    "data": "{name: shapes, size: [64, 64]}",
    "model": "{arch: fpn, encoder: resnet18}",
    "train": "{epochs: 2, batch_size: 8}",
    "suppression": "{p_max: 0.5}",
}
"""Lines 3 to 6 of either file."""

MISTAKES: dict[str, tuple[dict[str, str], list[str]]] = {
    "duplicate key": ({"train": "{epochs: 2, batch_size: 8, epochs: 3}"}, []),
    "on for a boolean": ({"data": "{name: shapes, augment: {flip: on}}"}, []),
    "010 is ten": ({"data": "{name: shapes, size: [010, 64]}"}, []),
    "unknown key": ({"train": "{epochs: 2, batch_size: 8, epoch: 3}"}, []),
    "two unknown keys": ({"train": "{epochs: 2, batch_size: 8, n: 3}", "data": "{name: shapes, w: 1}"}, []),
    "bad data, missing key": ({"data": "{name: voc, root: /nowhere/at/all}", "train": "{epochs: 2}"}, []),
    "missing key": ({"train": "{epochs: 2}"}, []),
    "wrong type": ({"train": "{epochs: '2', batch_size: 8}"}, []),
    "out of bounds": ({"suppression": "{p_max: 1.5}"}, []),
    "unknown name": ({"model": "{arch: fpnn, encoder: resnet18}"}, []),
    "unknown encoder": ({"model": "{arch: fpn, encoder: resnt18}"}, []),
    "unknown section": ({"suppression": "{sampling: {name: invfreq}}"}, []),
    "rule of one section": ({"suppression": "{layer: [decoder, decoder]}"}, []),
    "rule over two sections": ({"train": "{epochs: 2, batch_size: 8, class_weights: [1, 2]}"}, []),
    "missing data": ({"data": "{name: camvid, root: /nowhere/at/all}"}, []),
    "unset variable": ({"train": '{epochs: "${NO_SUCH_NAME}", batch_size: 8}'}, []),
    "tag": ({"train": "{epochs: !!int 2, batch_size: 8}"}, []),
    "YAML syntax": ({"data": "[1, 2"}, []),
    "tab": ({"train": "\n\tepochs: 2"}, []),
    "--set: no such item": ({}, ["data.size[2]=32"]),
    "--set: no such key": ({}, ["train.epochs.x=3"]),
    "--set: no value": ({}, ["train.epochs"]),
    "--set: wrong type": ({}, ["train.lr=fast"]),
}  # fmt: skip


def told(name: str, folder: Path) -> tuple[str, str]:
    """What each command prints to stderr about a mistake, the file's name as FILE."""
    changes, options = MISTAKES[name]
    part = "".join(f"{key}: {value}\n" for key, value in {**TRIAL, **changes}.items())
    arguments = [argument for option in options for argument in ("--set", option)]
    outputs = []
    for command, text in ((run_trial, f"\n\n{part}"), (sweep, HEAD + part + TAIL)):
        path = folder / f"{command.__module__}.yaml"
        path.write_text(text)
        with contextlib.redirect_stderr(io.StringIO()) as stderr:
            assert command([str(path), *arguments]) == 2, f"{name}: {command.__module__} took it"
        outputs.append(stderr.getvalue().replace(str(path), "FILE"))
    return outputs[0], outputs[1]


@pytest.mark.parametrize("name", MISTAKES)
def test_both_commands_say_the_same(name: str, tmp_path: Path) -> None:
    by_trial, by_sweep = told(name, tmp_path)
    assert by_trial == by_sweep
    assert len(by_trial.splitlines()) == (2 if name in ("two unknown keys", "bad data, missing key") else 1)
    assert by_trial.startswith("--set " if name.startswith("--set") else "FILE:")


if __name__ == "__main__":
    print("| mistake | what both say |\n| --- | --- |")
    for mistake in MISTAKES:
        lines = told(mistake, Path(tempfile.mkdtemp()))[0].splitlines()
        print(f"| {mistake} | {'<br>'.join(f'`{line}`' for line in lines)} |")
