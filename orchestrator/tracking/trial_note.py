"""The description of a trial's run in MLflow: what it is, how it scored beside its rival, what was picked for it.

The first sentence is plain text: MLflow shows it unformatted beside a chart's points. Records must be masked.
"""

from collections.abc import Iterator, Mapping, Sequence

from orchestrator.report.pages.numbers import number, setting, signed
from orchestrator.store.short_picks import short_picks
from orchestrator.store.trial_record import Record, State, reference_name
from orchestrator.studyfile import Objective
from orchestrator.tracking.notes import MOST_OF_RUN, escaped, sign, table
from trainable.presets import preset_in_words


def trial_note(
    record: Record, objectives: Sequence[Objective], rival: Record | None, levels: Mapping[str, object] | None
) -> str:
    """The description, as it is signed.

    Args:
        record: The trial.
        objectives: What is optimised.
        rival: What it is compared with: the plain reference, or the baseline's run on the same seed.
        levels: What its arm sets, by path; None of a trial of no arm.
    """
    lines = [" ".join([*_scores(record, objectives, rival), _what_it_is(record)])]
    rows = [(escaped(name), escaped(setting(value))) for name, value in _settings(record, levels).items()]
    if rows:
        head = "this arm sets" if levels else "picked"
        lines.append(table(("setting", head), rows))
    return sign("\n\n".join(lines), MOST_OF_RUN)


def _settings(record: Record, levels: Mapping[str, object] | None) -> Mapping[str, object]:
    if levels is not None:
        return levels
    return {} if record.planned.kind == "reference" else dict(record.planned.picks or {})


def _scores(record: Record, objectives: Sequence[Objective], rival: Record | None) -> Iterator[str]:
    for objective in objectives:
        value, other = record.last(objective.metric), rival.last(objective.metric) if rival else None
        if value is None or not record.state.final:
            continue
        beside = ""
        if rival is not None and rival.key != record.key and other is not None and rival.state is State.COMPLETE:
            beside = f" ({signed(value - other)} beside {_called(rival)})"
        yield f"{objective.metric} {number(value)}{beside}."


def _called(rival: Record) -> str:
    arm = rival.planned.arm
    return reference_name(rival.key) if arm is None else f"{arm} on the same seed"


def _what_it_is(record: Record) -> str:
    planned, epochs = record.planned, len(record.epochs)
    what = _kind(record)
    match record.state:
        case State.COMPLETE:
            end = f"complete after {epochs} epochs"
        case State.RUNNING:
            end = f"running, {planned.epochs} epochs to train"
        case _:
            end = f"{record.state} after {epochs} of {planned.epochs} epochs: {record.reason or 'no reason is known'}"
    return f"{what}, {end}."


def _kind(record: Record) -> str:
    planned = record.planned
    match planned.kind:
        case "reference":
            words = preset_in_words(reference_name(record.key)) or "a setting outside the search"
            return f"Reference: {words}; one seed"
        case "imported":
            return f"Trial imported from another study ({_picked(record)}), one seed"
        case "confirm" | "ablation":
            stage = "confirmation" if planned.kind == "confirm" else "ablation"
            return f"Arm {planned.arm} of the {stage} on its seed {(planned.block or 0) + 1}"
        case "prefix":
            return "First epochs that several runs share"
        case _:
            return f"Trial of the search ({_picked(record)}), one seed"


def _picked(record: Record) -> str:
    return short_picks(record.planned.picks) or "nothing was searched"
