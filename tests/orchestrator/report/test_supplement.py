"""The supplement: equal bytes, every number traceable, nothing of an environment variable."""

import csv
import io
import zipfile
from dataclasses import replace
from typing import Any

import pyarrow.parquet as pq
import pytest
from made_studies import PRESET_ARMS, begin, preset_plan

from orchestrator.report.build import compose
from orchestrator.report.source import Results, read_results
from orchestrator.report.supplement.archive import supplement, zipped
from orchestrator.report.supplement.checklist import answers
from orchestrator.store.masking import shown
from orchestrator.store.results_table import write_table
from orchestrator.store.stage_plan import Arm

Make = Any  # conftest's builder of studies


def archive(made: Any) -> dict[str, str | bytes]:
    results = read_results(made.store)
    return opened(content_of(made, results))


def content_of(made: Any, results: Results) -> bytes:
    metrics = results.chosen_metrics(["val/miou"])
    return supplement(made.store, results, compose(results, metrics), metrics)


def opened(content: bytes) -> dict[str, str | bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as files:
        assert files.testzip() is None
        whole = {name: files.read(name) for name in files.namelist()}
    return {name: text if name.endswith(".parquet") else text.decode() for name, text in whole.items()}


def rows(text: str | bytes) -> list[dict[str, str]]:
    assert isinstance(text, str)
    return list(csv.DictReader(io.StringIO(text)))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A study with a search and an ablation."""
    made = begin(tmp_path_factory.mktemp("supplement"), "search.trials=6")
    made.references()
    made.search(6, failed=1)
    made.compare(preset_plan(9), PRESET_ARMS)
    made.write()
    return made


def test_every_difference_names_its_runs_and_is_their_mean(whole: Any) -> None:
    files = archive(whole)
    last = {row["trial"]: float(row["val/miou"]) for row in rows(files["results_last_epoch.csv"]) if row["val/miou"]}
    statistics = rows(files["statistics.csv"])
    assert [row["arm"] for row in statistics] == [arm for arm in PRESET_ARMS if arm != "plain"]
    for row in statistics:
        arm, baseline = row["runs of the arm"].split(), row["runs of the baseline"].split()
        assert len(arm) == len(baseline) == int(row["n"]) == 9
        difference = sum(last[a] - last[b] for a, b in zip(arm, baseline, strict=True)) / 9
        assert float(row["difference"]) == pytest.approx(difference, abs=1e-12)


def test_every_table_and_figure_has_a_source(whole: Any) -> None:
    results = read_results(whole.store)
    document = compose(results, ["val/miou"])
    files = archive(whole)
    named = {row["name"]: row for row in rows(files["sources.csv"]) if row["kind"] != "sentence"}
    for block in (*document.tables, *document.pictures):
        assert block.name in named, block.name
        source = named[block.name]
        assert source["columns"] or source["files"] or block.name == "metrics", block.name
    assert "val/miou" in named["ablation-val-miou"]["columns"].split()
    assert "val/iou/sand" in named["search-classes"]["columns"].split()
    assert set(named["search-top"]["columns"].split()) >= {"val/miou", "pick.*"}
    cells = {(row["table"], row["first cell"], row["column"]): row["printed"] for row in rows(files["numbers.csv"])}
    for table in document.tables:
        for row in table.rows:
            assert cells[table.name, row[0].text, table.heads[-1]] == row[-1].text


def test_the_table_travels_with_it(whole: Any) -> None:
    table = pq.read_table(io.BytesIO(archive(whole)["results.parquet"]))  # type: ignore[arg-type]
    own = pq.read_table(io.BytesIO(whole.store.objects.read("results.parquet")))
    assert (len(table), set(table.column_names)) == (len(own), set(own.column_names))


def test_hyperparameters_say_what_was_searched(whole: Any) -> None:
    named = {row["setting"]: row for row in rows(archive(whole)["hyperparameters.csv"])}
    assert named["train.lr"]["values"] == "0.0001 to 0.01, logarithmic"
    assert named["suppression.layer"]["values"] == "decoder | encoder.4 | encoder.4+decoder"
    assert named["train.epochs"]["how"] == "fixed"
    assert float(named["suppression.p_max"]["best of the search"]) <= 1


def test_methods_and_checklist_claim_no_more_than_there_is(whole: Any) -> None:
    files = archive(whole)
    methods = files["methods.txt"]
    assert isinstance(methods, str)
    assert "on 9 seeds, every arm once on every seed. Its plan (hash " in methods
    assert preset_plan(9).hash in methods
    assert r"\paragraph{Methods.}" in files["methods.tex"]  # type: ignore[operator]
    said = {one.question: one.answer for one in answers(read_results(whole.store))}
    assert said["Are error bars and tests of significance reported?"] == "Yes"
    assert said["Are results reported on data that chose nothing?"] == "No"
    assert said["Was the comparison planned before its results were known?"] == "Yes"
    assert said["Were baselines tuned with the same budget?"] == "No"


def test_few_seeds_and_a_changed_plan_are_no_yes(make: Make) -> None:
    made = make()
    made.compare(preset_plan(2, earlier=("4 arms on 2 seeds",)), PRESET_ARMS)
    said = {one.question: one for one in answers(read_results(made.write()))}
    assert said["Are error bars and tests of significance reported?"].answer == "Partly"
    assert said["Was the comparison planned before its results were known?"].answer == "No"


def test_equal_studies_give_equal_archives(whole: Any) -> None:
    assert content_of(whole, read_results(whole.store)) == content_of(whole, read_results(whole.store))
    assert zipped({"b": "2", "a": b"1"}) == zipped({"a": b"1", "b": "2"})


def test_values_of_the_environment_are_in_no_file(make: Make) -> None:
    secret, written = "s3cret/encoder", "${LAYER}"
    made = make()
    arms = (Arm("plain", {"preset": "plain"}), Arm("mine", {"suppression.layer": secret}))
    plan = preset_plan(2, arms=arms, base={"suppression": {"layer": secret}})
    made.compare(plan, {"plain": 0.0, "mine": 0.1})
    for number, record in enumerate(made.records):
        config = dict(record.planned.config)
        config["suppression"] = {**config["suppression"], "layer": secret}
        made.records[number] = replace(record, planned=replace(record.planned, config=config))
    from_env = {"ablation.arms.mine.suppression.layer": written, "suppression.layer": written}
    specification = {**made.study.resolved(), "suppression": {"layer": written}}
    made.store.write_study(specification, from_env=from_env)
    write_table(made.store, [shown(record, {"suppression.layer": written}) for record in made.records])
    made.store.write_text("best.yaml", f"# best {secret}\nsuppression: {{layer: '{secret}'}}\n")
    files = archive(made)
    for name, content in files.items():
        assert secret not in (content.decode(errors="replace") if isinstance(content, bytes) else content), name
    assert written in files["plan-ablation.json"]  # type: ignore[operator]
    assert written in files["best.yaml"]  # type: ignore[operator]
    assert written in files["study.yaml"]  # type: ignore[operator]


def test_a_study_without_a_run_has_a_supplement(make: Make) -> None:
    made = make()
    made.write()
    assert "Nothing was trained yet." in archive(made)["methods.txt"]  # type: ignore[operator]
