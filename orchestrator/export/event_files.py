"""Trials -> event files of TensorBoard: a run for each, with its curves, pictures and settings (the hparams page).

``<folder>/<study>/events.out.tfevents.dropclass`` says which settings and metrics there are,
``<folder>/<study>/<trial>/events.out.tfevents.dropclass`` holds a trial. Equal studies give equal files; another export
replaces them, and removes those of trials that are no more.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from google.protobuf.struct_pb2 import ListValue
from tensorboardX.proto.api_pb2 import DataType as HParamType
from tensorboardX.proto.api_pb2 import Experiment, HParamInfo, Interval, MetricInfo, MetricName
from tensorboardX.proto.api_pb2 import Status as SessionStatus
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo
from tensorboardX.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboardX.record_writer import RecordWriter

from orchestrator.export.shown_study import ShownStudy, ShownTrial
from orchestrator.store import layout
from orchestrator.store.artifacts import read_picture
from orchestrator.store.objects import Objects
from orchestrator.store.trial_record import State, reference_name

FILE = "events.out.tfevents.dropclass"
"""TensorBoard reads files whose names hold ``tfevents``."""
PICTURES = {layout.FIRST_PICTURE: "validation", layout.LAST_PICTURE: "validation", layout.GRADCAM: "gradcam"}
"""Tags of the pictures; the frames of the first and the last epoch are two steps of one tag."""
_STATUS = {State.COMPLETE: "SUCCESS", State.PRUNED: "SUCCESS", State.FAILED: "FAILURE"}
Setting: TypeAlias = str | float


def write_events(study: ShownStudy, folder: Path, objects: Objects) -> Path:
    """Write a study's event files below a folder; returns the study's own folder there.

    Raises:
        OSError: the folder cannot be written to, or the storage cannot be read.
    """
    place = folder / study.name
    settings = {trial.key: _settings(study, trial) for trial in study.trials}
    place.mkdir(parents=True, exist_ok=True)
    for old in place.glob(f"*/{FILE}"):
        if old.parent.name not in settings:
            old.unlink()
    start = min((trial.start for trial in study.trials), default=0.0)
    _replace(place / FILE, start, [_event(start, 0, [_experiment(study, list(settings.values()), start)])])
    for trial in study.trials:
        (place / trial.key).mkdir(exist_ok=True)
        events = _trial_events(trial, settings[trial.key], objects)
        _replace(place / trial.key / FILE, trial.start, events)
    return place


def _settings(study: ShownStudy, trial: ShownTrial) -> dict[str, Setting]:
    """What tells a trial from others: its kind, arm and seed, what it picked or what its arm sets."""
    planned = trial.record.planned
    plan = study.plan_of(trial.kind)
    levels = next((arm.levels for arm in plan.arms if arm.name == planned.arm), {}) if plan else {}
    arm = reference_name(trial.key) if planned.kind == "reference" else planned.arm
    settings: dict[str, object] = {"kind": planned.kind, "seed": str(planned.config["seed"])}
    settings |= {} if arm is None else {"arm": arm}
    settings |= {**(planned.picks or {}), **levels}
    return {name: _setting(value) for name, value in settings.items()}


def _setting(value: object) -> Setting:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return value if isinstance(value, str) else "null" if value is None else str(value)


def _experiment(study: ShownStudy, settings: Sequence[Mapping[str, Setting]], start: float) -> Summary.Value:
    """What the hparams page may show: every setting with its values, the objectives."""
    names = dict.fromkeys(name for each in settings for name in each)
    infos = [_info(name, [each[name] for each in settings if name in each]) for name in names]
    metrics = [MetricInfo(name=MetricName(tag=objective.metric)) for objective in study.objectives]
    experiment = Experiment(name=study.name, hparam_infos=infos, metric_infos=metrics, time_created_secs=start)
    return _hparams("experiment", HParamsPluginData(experiment=experiment))


def _info(name: str, values: Sequence[Setting]) -> HParamInfo:
    """A setting: a range of numbers, or names to choose from (numbers among names are names)."""
    numbers = [value for value in values if isinstance(value, float)]
    if len(numbers) == len(values):
        interval = Interval(min_value=min(numbers), max_value=max(numbers))
        return HParamInfo(name=name, type=HParamType.Value("DATA_TYPE_FLOAT64"), domain_interval=interval)
    discrete = ListValue()
    discrete.extend(sorted({_text(value) for value in values}))
    return HParamInfo(name=name, type=HParamType.Value("DATA_TYPE_STRING"), domain_discrete=discrete)


def _text(value: Setting) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _trial_events(trial: ShownTrial, settings: Mapping[str, Setting], objects: Objects) -> Iterator[Event]:
    begun = SessionStartInfo(group_name=trial.key, start_time_secs=trial.start)
    for name, value in settings.items():
        if isinstance(value, str):
            begun.hparams[name].string_value = value
        else:
            begun.hparams[name].number_value = value
    yield _event(trial.start, 0, [_hparams("session_start_info", HParamsPluginData(session_start_info=begun))])
    last = len(trial.record.epochs)
    for epoch, (end, metrics) in enumerate(zip(trial.ends, trial.record.epochs, strict=True), start=1):
        values = [Summary.Value(tag=name, simple_value=value) for name, value in metrics.items()]
        yield _event(end, epoch, [*values, *_pictures(trial.key, objects, epoch, last)])
    status = SessionStatus.Value(f"STATUS_{_STATUS.get(trial.record.state, 'RUNNING')}")
    ended = SessionEndInfo(status=status, end_time_secs=trial.end)
    if trial.record.state.final:
        yield _event(trial.end, last, [_hparams("session_end_info", HParamsPluginData(session_end_info=ended))])


def _pictures(key: str, objects: Objects, epoch: int, last: int) -> Iterator[Summary.Value]:
    for name, tag in PICTURES.items():
        if epoch == (1 if name == layout.FIRST_PICTURE else last) and (png := read_picture(objects, key, name)):
            width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))
            image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=png)
            yield Summary.Value(tag=tag, image=image)


def _hparams(name: str, content: HParamsPluginData) -> Summary.Value:
    plugin = SummaryMetadata.PluginData(plugin_name="hparams", content=content.SerializeToString(deterministic=True))
    return Summary.Value(tag=f"_hparams_/{name}", metadata=SummaryMetadata(plugin_data=plugin))


def _event(time: float, step: int, values: Sequence[Summary.Value]) -> Event:
    return Event(wall_time=time, step=step, summary=Summary(value=values))


def _replace(path: Path, start: float, events: Sequence[Event] | Iterator[Event]) -> None:
    """Write a file of events as a whole."""
    unfinished = path.with_name(f".{path.name}.unfinished".replace("tfevents", "events"))
    writer = RecordWriter(str(unfinished))
    writer.write(Event(wall_time=start, file_version="brain.Event:2").SerializeToString())
    for event in events:
        writer.write(event.SerializeToString(deterministic=True))
    writer.close()
    os.replace(unfinished, path)
