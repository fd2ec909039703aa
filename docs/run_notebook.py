"""Run a notebook and keep its outputs: ``python docs/run_notebook.py docs/python.ipynb``.

It runs in an empty folder. Paths of this machine do not enter the outputs; neither do times of runs, which would make
every refresh a change. Needs nbclient and ipykernel (``pip install -e '.[docs]'``).
"""

import re
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

TIMEOUT_S = 600
"""Of a cell."""


def executed(path: Path, folder: Path) -> nbformat.NotebookNode:
    """The notebook with new outputs.

    Args:
        path: The notebook; it is not changed.
        folder: Where its cells run.

    Raises:
        nbclient.exceptions.CellExecutionError: A cell failed.
    """
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=TIMEOUT_S, kernel_name="python3", resources=resources).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [output for output in map(_worth_keeping, cell.outputs) if output is not None]
    return _without_paths(notebook, folder)


def _worth_keeping(output: nbformat.NotebookNode) -> nbformat.NotebookNode | None:
    """The output, but for what libraries warn of."""
    return None if output.output_type == "stream" and output.name == "stderr" else output


def _without_paths(notebook: nbformat.NotebookNode, folder: Path) -> nbformat.NotebookNode:
    text = nbformat.writes(notebook)
    for place in {str(folder), str(folder.resolve())}:
        text = text.replace(f"{place}/", "").replace(place, ".")
    text = text.replace(sys.executable, "python")
    text = re.sub(r"\b(\d+ min )?\d+ s in this launch", "a few seconds in this launch", text)
    return nbformat.reads(text, as_version=4)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as scratch:
            nbformat.write(executed(Path(name), Path(scratch)), name)
