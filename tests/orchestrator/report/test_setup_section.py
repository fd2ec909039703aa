"""What was trained, when, on what and with what: from what a study's directory keeps; honest where it keeps nothing."""

from typing import Any

import pytest

from orchestrator.report.answers import short_answers
from orchestrator.report.build import compose
from orchestrator.report.pages.document import Document
from orchestrator.report.pages.rendering import render
from orchestrator.report.source import read_results
from orchestrator.report.supplement.checklist import answers
from orchestrator.store.launches import MOST_KEPT, Launch, note_launch, read_launches
from orchestrator.store.spending import Spent

Make = Any  # conftest's builder of studies
COMMAND = "python -m orchestrator.sweep made.yaml"


def launch(began: float = 1.79e9, **changes: Any) -> Launch:
    whole: dict[str, Any] = {
        "command": COMMAND,
        "host": "driver",
        "versions": {"torch": "2.11.0"},
        "commit": "0123456789abcdef",
    }
    whole |= {"runs": "mlflow ui --backend-store-uri sqlite:////a/mlflow.db"}
    whole |= {"images": {"{}": {"train": 40, "val": 10}}}
    return Launch(began, **{**whole, **changes})


@pytest.fixture
def kept(make: Make) -> Any:
    """A search of which everything is kept."""
    made = make("search.trials=3")
    made.search(3)
    made.references()
    objects = made.store.objects
    for number, record in enumerate(made.records):
        made.store.claim(record.key, {"host": "node", "time": 1.79e9 + 90 * number, "cpu": "EPYC, 8 cores"})
    note_launch(objects, launch())
    Spent(7200.0, 14400.0, 0.0, {"node": 3600.0}, 20).write(objects, "a0")
    objects.write_json("tracking.json", {"at": "x", "complete": True, "page": "http://127.0.0.1:5000/#/experiments/1"})
    return made


def setup(document: Document) -> dict[str, str]:
    table = next(table for table in document.tables if table.name == "setup")
    return {row[0].text: row[1].text for row in table.rows}


def composed(made: Any) -> Document:
    results = read_results(made.write())
    return compose(results, results.chosen_metrics(None))


def test_what_was_trained_is_said(kept: Any) -> None:
    document = composed(kept)
    facts = setup(document)
    rare = "2 rare: disk_rising, square_falling"
    assert facts["data"] == f"shapes: 40 training and 10 evaluation images of 64 × 64 pixels, 6 classes ({rare})"
    assert facts["network"] == "fpn, encoder resnet18 without pretrained weights"
    assert facts["training"].startswith("epochs 5; batch size 20; optimizer adamw; ")
    assert "learning rate searched from 0.0001 to 0.01" in facts["training"]
    assert facts["runs"] == "5 (reference 2 complete; search 3 complete)"
    assert facts["time"].startswith("runs began from 2026-09-21 14:13 to 14:19 UTC; ")
    assert facts["time"].endswith("trials took 4.00 h together, in 2.00 h of launches; 1.00 GPU-hours")
    assert facts["machines"] == "node (5 runs): EPYC, 8 cores"
    assert facts["versions"] == "torch 2.11.0, commit 0123456789ab"
    assert facts["run it again"] == COMMAND
    page = render(document, "html", {p.name: {"svg": b""} for p in document.pictures})
    assert '<a href="http://127.0.0.1:5000/#/experiments/1">' in page
    assert f"{COMMAND} --set &#39;confirm=" in page, "the next step, ready to be pasted"


def test_what_an_older_version_did_not_keep_is_not_made_up(make: Make) -> None:
    made = make("search.trials=3")
    made.search(3)
    facts = setup(composed(made))
    assert facts["data"].startswith("shapes: 400 training and 100 evaluation images"), "the built-in scenes say it"
    assert facts["machines"] == "not kept"
    assert facts["versions"] == facts["run it again"] == "not kept: an older version ran the study"
    assert facts["time"].startswith("epochs took 0.0")
    assert "MLflow" not in facts
    said = {one.question: one for one in answers(read_results(made.store))}
    assert said["Is there what it takes to repeat the runs?"].answer == "No"
    assert said["Are error bars and tests of significance reported?"].answer == "No"


def test_an_address_that_is_no_page_is_no_link(kept: Any) -> None:
    kept.store.objects.write_json("tracking.json", {"at": "x", "complete": True, "page": "javascript:alert(1)"})
    table = next(table for table in composed(kept).tables if table.name == "setup")
    assert [row[1].link for row in table.rows if row[0].text == "MLflow"] == [""]


def test_damaged_notes_are_as_if_they_were_not_there(kept: Any) -> None:
    for name in ("launches.json", "tracking.json", "trials/search-0000/attempt-1.json"):
        kept.store.write_bytes(name, b'{"sha256": "0", "content": []}')
    facts = setup(composed(kept))
    assert facts["machines"] == "node (4 runs): EPYC, 8 cores; 4 of 5 runs were asked"
    assert facts["versions"].startswith("not kept")


def test_short_answers_read_no_file_of_a_run(kept: Any) -> None:
    results = read_results(kept.write())
    assert short_answers(results)
    assert "origin" not in vars(results), "a terminal and MLflow do not wait for hundreds of files"


def test_changed_code_is_told(kept: Any) -> None:
    note_launch(kept.store.objects, launch(commit="fedcba9876543210", dirty=True))
    results = read_results(kept.write())
    facts = setup(compose(results, ["val/miou"]))
    assert facts["versions"].endswith("with changes that are not committed, earlier launches had others")
    said = next(one for one in answers(results) if one.question == "Is there what it takes to repeat the runs?")
    assert said.answer == "No"


def test_launches_are_bounded(make: Make) -> None:
    objects = make().store.objects
    objects.write_json("launches.json", [{"began": float(n)} for n in range(MOST_KEPT)])
    note_launch(objects, launch(5e9))
    began = [one.began for one in read_launches(objects)]
    assert (len(began), began[0], began[1], began[-1]) == (MOST_KEPT, 0.0, 2.0, 5e9)
