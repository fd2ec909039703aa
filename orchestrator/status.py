"""The command: ``python -m orchestrator.status STUDY``: how a study fares, from its directory alone.

Exit codes: 0 shown, 2 no such study.
"""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from statistics import fmean

from rich.box import SIMPLE
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from orchestrator.errors import InputError
from orchestrator.launch.look_words import blocks_of, kept_looks, looks_so_far
from orchestrator.launch.plan_changes import registered_plan
from orchestrator.launch.usage import nodes_table, usage_lines
from orchestrator.store import layout
from orchestrator.store.addresses import storage_errors
from orchestrator.store.holder import Holder
from orchestrator.store.lease import holder
from orchestrator.store.ranking import block_values
from orchestrator.store.records import Store, open_study
from orchestrator.store.spending import all_spent
from orchestrator.store.stage_plan import STAGES, StagePlan
from orchestrator.store.tracking_note import page_of
from orchestrator.store.trial_record import Record, State
from orchestrator.studyfile import Objective, objectives_of
from orchestrator.terminal.beside import arrow
from orchestrator.terminal.console import open_console, say
from orchestrator.terminal.formats import best_epoch, figures_table, folded, number
from orchestrator.terminal.options import add_study
from orchestrator.tracking.destination import tracked_at, where_runs_are
from trainable.configfile.node import JsonObject
from trainable.evaluate.metrics.best_epoch import best_epoch_label
from trainable.program import leave, usage_name

WATCH_SECONDS = 5.0
NAME, MOST_NAME = 16, 24
"""Columns of a name, and of a trial's, where it has parts between which it can break."""
SHOWN_FINAL = 20
"""Ended trials that are listed one by one: the best ones."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parser().parse_args(argv)
    console = open_console()
    try:
        if options.watch:
            return _watch(options.storage, options.study, console)
        console.print(status(options.storage, options.study))
        for line in pages(options.storage, options.study):
            say(console, line)  # a command is pasted as it is
        return 0
    except InputError as error:
        print(error, file=sys.stderr)
        return 2


def parser() -> argparse.ArgumentParser:
    """What the command takes."""
    command = argparse.ArgumentParser(prog=usage_name("orchestrator.status"), description="Show how a study fares.")
    add_study(command)
    command.add_argument("--watch", action="store_true", help=f"show it anew every {WATCH_SECONDS:g} s until Ctrl-C")
    return command


def status(storage: str, study: str) -> Group:
    """The study's state.

    Raises:
        InputError: there is no such study, or the storage cannot be used.
    """
    store, kept = open_study(storage, study)
    with storage_errors(f"--storage {storage}"):
        records, launch = store.records(), holder(store.objects)
        return _state(store, records, kept.specification, launch)


def _state(store: Store, records: Sequence[Record], specification: JsonObject, launch: Holder | None) -> Group:
    objective = objectives_of(specification)[0]
    counts = ", ".join(f"{sum(r.state is s for r in records)} {s}" for s in State if any(r.state is s for r in records))
    running = f"run by {launch.host}, process {launch.pid}, {_ago(launch.time)}" if launch else "nobody runs it"
    lines = [
        f"{store.address}: {counts or 'no trials yet'}; {running}",
        *(f"warning: {line}" for line in store.warnings),
    ]
    plans = [plan for stage in STAGES if (plan := registered_plan(store.objects, stage, lines.append)) is not None]
    taken = kept_looks(store.objects, plans, lines)
    lines += [line for plan in plans if (line := looks_so_far(plan, taken.get(plan.stage, ()))) is not None]
    tables = [_arms(records, plan, objective, blocks_of(plan, taken)) for plan in plans]
    live = [record for record in records if launch and record.state is State.RUNNING]
    spent = all_spent(store.objects, lines)
    lines += usage_lines(spent, records, plans, specification, slots=len(live) or 1, taken=taken)
    if (nodes := nodes_table(store, spent, live)) is not None:
        tables.append(nodes)
    return Group(*map(Text, lines), _table(store, records, objective, alive=launch is not None), *tables)


def pages(storage: str, study: str) -> list[str]:
    """Where the report and MLflow show the study, and how to serve MLflow's pages; a line each. Raises as `status`."""
    store, kept = open_study(storage, study)
    with storage_errors(f"--storage {storage}"):
        files = store.objects.files(layout.REPORT)
    lines = [f"report  {store.path(name)}" for name in files if name.endswith(".html")]
    with suppress(InputError):  # the address names an environment variable that this shell does not have
        uri, _ = tracked_at(kept.specification)
        if uri is not None and (page := page_of(store.objects)) is not None:
            lines += [f"runs    {where_runs_are(uri)}", f"page    {page}"]
    return lines


def _table(store: Store, records: Sequence[Record], objective: Objective, *, alive: bool) -> Table:
    table = Table(box=SIMPLE, pad_edge=False)
    best = best_epoch_label(greater=objective.mode == "max")
    metric = folded(f"{objective.metric} {arrow(objective)}", NAME)
    for head in ("trial", "state", "epochs", metric, best, "last sign", ""):
        table.add_column(
            head,
            no_wrap=head in ("trial", "state"),
            justify="left" if head in ("trial", "state", "") else "right",
            overflow="fold",
        )
    trials = (r for r in records if r.state.final and r.planned.kind != "prefix")
    one_by_one = (r for r in trials if r.planned.arm is None or r.state is State.FAILED)
    ended = sorted(one_by_one, key=lambda r: _rank(r, objective))
    live = [r for r in records if not r.state.final]
    for record in (*live, *ended[:SHOWN_FINAL]):
        state = "waiting" if record.state is State.RUNNING and not alive else str(record.state)
        written = None if record.state.final else store.last_write(record.key)
        sign = "" if written is None else _ago(written)
        epochs = f"{len(record.epochs)}/{record.planned.epochs}"
        last, top = number(record.last(objective.metric)), best_epoch(record.best_epoch(objective))
        table.add_row(folded(record.key, MOST_NAME), state, epochs, last, top, sign, record.remark)
    if len(ended) > SHOWN_FINAL:
        table.add_row(f"and {len(ended) - SHOWN_FINAL} more", "", "", "", "", "", "")
    return table


def _arms(records: Sequence[Record], plan: StagePlan, objective: Objective, blocks: Mapping[str, int]) -> Table:
    """How far each arm of a comparison is, of so many blocks; its runs are not listed one by one."""
    label = best_epoch_label(greater=objective.mode == "max")
    mean = folded(f"mean {objective.metric} {arrow(objective)}", NAME)
    table = figures_table(plan.stage, ("ended", "failed", mean, f"mean of {label}"))
    last = block_values(records, plan, lambda record: record.last(objective.metric))
    best = block_values(records, plan, lambda record: record.best_value(objective))
    for arm in plan.arms:
        runs = [r for r in records if r.planned.kind == plan.stage and r.planned.arm == arm.name]
        ended, failed = sum(r.state.final for r in runs), sum(r.state is State.FAILED for r in runs)
        means = [number(fmean(runs.values()) if runs else None) for runs in (last[arm.name], best[arm.name])]
        table.add_row(folded(arm.name, NAME), f"{ended}/{blocks[arm.name]}", str(failed or ""), *means)
    return table


def _rank(record: Record, objective: Objective) -> tuple[int, float]:
    """Complete ones first, the best of them first."""
    last = record.last(objective.metric)
    if record.state is not State.COMPLETE or last is None:
        return 1, float(record.planned.number)
    return 0, -last if objective.mode == "max" else last


def _ago(moment: float) -> str:
    seconds = max(0, round(time.time() - moment))
    return f"{seconds} s ago" if seconds < 120 else f"{seconds // 60} min ago"


def _watch(storage: str, study: str, console: Console) -> int:
    try:
        with Live(status(storage, study), console=console, auto_refresh=False) as live:
            while True:
                live.update(status(storage, study), refresh=True)
                time.sleep(WATCH_SECONDS)
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    leave(main())
