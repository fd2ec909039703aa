"""docs/python.md and docs/python.ipynb: their code runs."""

import contextlib
import importlib.util
import io
import re
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PAGE, NOTEBOOK = ROOT / "docs" / "python.md", ROOT / "docs" / "python.ipynb"
PLACE = re.compile(r"(?<![\w.:/<#])/\w[\w.-]*/[\w.]")
"""A path from the root; addresses and closing tags are none."""
BLOCK = re.compile(r"(<!-- needs (\w+) -->\n)?```python\n(.*?)```", re.DOTALL)


def test_the_code_of_the_page_runs_on_two_made_studies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks that need Ray or weights are run by the notebook."""
    from tests.orchestrator.report.made_studies import PRESET_ARMS, begin, preset_plan

    for name in ("shapes", "longer"):
        made = begin(tmp_path, f"study={name}")
        made.search(6)
        made.references()
        made.compare(preset_plan(4), PRESET_ARMS)
        for record in made.records:
            made.store.plan(record.planned)
            made.store.judge(record, {})
        made.write()
    monkeypatch.chdir(tmp_path)
    blocks = [block[3] for block in BLOCK.finditer(PAGE.read_text()) if block[2] is None]
    assert len(blocks) == 4
    names: dict[str, Any] = {}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        for block in blocks:
            exec(compile(block, str(PAGE), "exec"), names)
    text = printed.getvalue()
    assert "Best of 6" in text
    assert "ablation full" in text
    assert text.rstrip().endswith("studies/shaeps: no study there (did you mean 'shapes'?)")
    assert names["study"].best is not None
    assert len(names["curves"].columns) == 6 + 2 + 24


def test_every_attribute_that_the_page_names_is_there() -> None:
    import orchestrator

    text = PAGE.read_text()
    rows = text[text.index("| attribute |") : text.index("A `Trial` has")]
    names = [re.match(r"\w+", code).group() for code in re.findall(r"`([^`]+)`", rows)]  # type: ignore[union-attr]
    studies = {name for name in names if not name.startswith(("p_", "Trial"))}
    fields = {*dir(orchestrator.Study), *orchestrator.Study.__dataclass_fields__}
    assert studies <= fields
    trial = text[text.index("A `Trial` has") : text.index("Settings that came from `${NAME}`")]
    own = {code for code in re.findall(r"`(\w+)`", trial) if code != "Trial"}
    assert own <= {*dir(orchestrator.Trial), *orchestrator.Trial.__dataclass_fields__}


def test_the_notebook_holds_its_outputs_and_nothing_of_a_machine() -> None:
    import json

    notebook = json.loads(NOTEBOOK.read_text())
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    text = json.dumps(notebook)
    assert all(cell["execution_count"] for cell in cells)
    assert sum(bool(cell["outputs"]) for cell in cells) >= len(cells) - 1
    assert "image/png" in text
    assert "Traceback" not in text
    for cell in cells:
        for output in cell["outputs"]:
            texts = {kind: text for kind, text in output.get("data", output).items() if not kind.startswith("image")}
            assert not PLACE.search(json.dumps(texts)), "a place of one machine"


@pytest.mark.integration
@pytest.mark.timeout(900)
@pytest.mark.skipif(
    importlib.util.find_spec("nbclient") is None or importlib.util.find_spec("ipykernel") is None,
    reason="nbclient and ipykernel are not installed: pip install .[docs]",
)
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    from run_notebook import executed  # type: ignore[import-not-found]

    notebook = executed(NOTEBOOK, tmp_path)
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    live = [o for o in outputs if o.output_type == "display_data" and "text/html" in o.get("data", {})]
    assert len(live) >= 4, "a place for each stage of each study"
    assert "complete" in str(live[0]["data"])
    sys.modules.pop("run_notebook", None)
