"""What TensorBoard reads from an export: curves, pictures and the settings of its hparams page."""

import csv
import struct
import zlib
from itertools import pairwise
from pathlib import Path

import pytest
from kept_made import keep
from made_studies import MadeStudy, Make
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata

from orchestrator.export.__main__ import main
from orchestrator.export.event_files import FILE
from orchestrator.store import layout
from orchestrator.store.artifacts import keep_artifacts
from orchestrator.store.trial_record import Record, State


def export(made: MadeStudy, folder: Path, *options: str) -> Path:
    storage = str(Path(made.store.address).parent)
    assert main(["made", "--storage", storage, "--tensorboard", str(folder), *options]) == 0
    return folder / "made"


def read(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder)).Reload()


def hparams(folder: Path, tag: str) -> object:
    content = read(folder).SummaryMetadata(f"_hparams_/{tag}").plugin_data.content
    parse = {
        "experiment": metadata.parse_experiment_plugin_data,
        "session_start_info": metadata.parse_session_start_info_plugin_data,
        "session_end_info": metadata.parse_session_end_info_plugin_data,
    }
    return parse[tag](content)


def picture(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress((b"\0" + b"\x80" * 3 * width) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.fixture(scope="module")
def runs(whole: MadeStudy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(whole, tmp_path_factory.mktemp("runs"))


def test_a_run_for_each_trial_with_every_metric_at_its_epoch(whole: MadeStudy, runs: Path) -> None:
    assert {path.name for path in runs.iterdir() if path.is_dir()} == {record.key for record in whole.records}
    for record in (whole.records[0], whole.records[7], whole.records[-1]):
        events = read(runs / record.key)
        assert set(events.Tags()["scalars"]) == set(record.epochs[0])
        points = events.Scalars("val/miou")
        assert [point.step for point in points] == list(range(1, len(record.epochs) + 1))
        assert [point.value for point in points] == pytest.approx([epoch["val/miou"] for epoch in record.epochs])
        seconds = [later.wall_time - point.wall_time for point, later in pairwise(points)]
        assert seconds == pytest.approx([epoch["epoch_seconds"] for epoch in record.epochs[1:]], abs=1e-3)


def test_the_settings_page_has_what_was_picked_and_how_it_ended(whole: MadeStudy, runs: Path) -> None:
    experiment = hparams(runs, "experiment")
    names = {info.name for info in experiment.hparam_infos}
    searched = {name for record in whole.records for name in record.planned.picks or ()}
    assert names == {"kind", "seed", "arm"} | searched | {"suppression", "train.class_weights"}
    assert [info.name.tag for info in experiment.metric_infos] == ["val/miou"]
    rate = next(info for info in experiment.hparam_infos if info.name == "train.lr")
    rates = [record.planned.picks["train.lr"] for record in whole.records if record.planned.picks]
    assert (rate.domain_interval.min_value, rate.domain_interval.max_value) == (min(rates), max(rates))
    layer = next(info for info in experiment.hparam_infos if info.name == "suppression.layer")
    assert "decoder" in list(layer.domain_discrete)
    for record in (whole.records[0], whole.records[4], whole.records[-1]):
        begun = hparams(runs / record.key, "session_start_info")
        assert begun.hparams["seed"].string_value == str(record.planned.config["seed"])
        for name, value in (record.planned.picks or {}).items():
            assert value in (begun.hparams[name].string_value, begun.hparams[name].number_value)
        ended = hparams(runs / record.key, "session_end_info")
        assert (ended.status == 2) == (record.state is State.FAILED)  # STATUS_FAILURE
    assert hparams(runs / "reference-plain", "session_start_info").hparams["arm"].string_value == "plain"


def test_the_pictures_that_were_kept_are_steps_of_one_tag(make: Make, tmp_path: Path) -> None:
    made = make()
    made.search(2)
    first, second = made.records
    made.records[1] = Record(second.planned, (), State.FAILED, "before its first epoch")
    keep(made)
    pictures = {name: picture(4, 3 + at) for at, name in enumerate(layout.PICTURES)}
    keep_artifacts(made.store.objects, first.key, pictures, None)
    folder = export(made, tmp_path / "tb")
    events = read(folder / first.key)
    assert [(i.step, i.width, i.height) for i in events.Images("validation")] == [(1, 4, 3), (5, 4, 4)]
    (gradcam,) = events.Images("gradcam")
    assert (gradcam.step, gradcam.encoded_image_string) == (5, pictures[layout.GRADCAM])
    assert read(folder / second.key).Tags()["scalars"] == []


def test_another_export_is_the_same_and_leaves_out_what_is_no_more(make: Make, tmp_path: Path) -> None:
    made = make()
    made.search(2)
    keep(made)
    folder = export(made, tmp_path / "tb")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    (folder / "search-0099").mkdir()
    (folder / "search-0099" / FILE).write_bytes(b"of a trial that is no more")
    (folder / "mine").mkdir()
    (folder / "mine" / "events.out.tfevents.1").write_bytes(b"somebody else's")
    export(made, tmp_path / "tb")
    assert {path: path.read_bytes() for path in before} == before
    after = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {
        path.relative_to(folder).as_posix() for path in before
    }
    assert after == {"mine/events.out.tfevents.1"}


def test_the_table_has_a_row_per_trial_and_epoch(whole: MadeStudy, tmp_path: Path) -> None:
    export(whole, tmp_path / "tb", "--csv", str(tmp_path / "t.csv"))
    with (tmp_path / "t.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(len(record.epochs) for record in whole.records)
    record = whole.records[9]
    (last,) = [row for row in rows if row["trial"] == record.key and row["epoch"] == str(len(record.epochs))]
    assert float(last["val/miou"]) == record.epochs[-1]["val/miou"]
    assert record.planned.picks is not None
    assert float(last["pick.train.lr"]) == record.planned.picks["train.lr"]
