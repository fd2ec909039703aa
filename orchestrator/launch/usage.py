"""What a study has used and what its budget still buys, from its directory alone; for ``orchestrator.status``."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from pydantic import JsonValue, ValidationError
from rich.table import Table

from orchestrator.driver.budget import Pace
from orchestrator.launch.affordable import Wanted, bought, limit_lines, money
from orchestrator.launch.look_words import blocks_of
from orchestrator.store.looks import TakenLook
from orchestrator.store.records import Store
from orchestrator.store.spending import HOUR_S, Spent
from orchestrator.store.stage_plan import Stage, StagePlan
from orchestrator.store.trial_record import Record
from orchestrator.studyfile import BudgetSection
from orchestrator.terminal.formats import duration, figures_table
from trainable.configfile.node import JsonObject
from trainable.evaluate.metrics.names import EPOCH_SECONDS, GPU_MEMORY, GPU_POWER
from trainable.failure import GIB


def usage_lines(
    spent: Spent,
    records: Sequence[Record],
    plans: Sequence[StagePlan],
    specification: JsonObject,
    *,
    slots: int,
    taken: Mapping[Stage, Sequence[TakenLook]] = MappingProxyType({}),
) -> Iterator[str]:
    """What was used, the limits, and what they still buy; nothing where no launch has counted anything.

    Args:
        spent: What the launches have used.
        records: Every trial.
        plans: The comparing stages that have begun.
        specification: The study as it was last launched.
        slots: Trials at a time, as far as is known.
        taken: Looks that were taken at the stages: arms that have stopped run no more.
    """
    if not spent.epochs:
        return
    section, hidden = _budget(specification)
    gpus = spent.gpu_hours * HOUR_S / max(spent.trial_seconds, 1e-9)
    parts = [f"{duration(spent.seconds)} of launches, {duration(spent.trial_seconds)} of trials"]
    if spent.gpu_seconds:
        parts.append(f"{spent.gpu_hours:.3g} GPU-hours{money(section, spent)}")
    if energy := kilowatt_hours(records, min(gpus, 1.0)):
        parts.append(f"{energy:.3g} kWh of GPUs where it was measured")
    yield f"used: {'; '.join(parts)}"
    if hidden:
        yield "budget: its limits come from environment variables"
    now = time.time()
    yield from (f"budget: {line}" for line in limit_lines(section, spent, now))
    wanted = [one for one in _wanted(spent, records, plans, specification, taken) if one.runs]
    if section.limits_anything and wanted:
        paid = bought(section, spent, wanted, gpus=gpus, slots=slots, now=now)
        yield f"what is left buys {', then '.join(map(str, paid))}"


def kilowatt_hours(records: Sequence[Record], share: float) -> float:
    """Energy that GPUs took in the epochs whose power was measured; ``share`` of a GPU is a trial's."""
    joules = sum(epoch[GPU_POWER] * epoch.get(EPOCH_SECONDS, 0.0) for record in records for epoch in own_epochs(record))
    return joules * share / HOUR_S / 1000


def own_epochs(record: Record) -> Sequence[Mapping[str, float]]:
    """Epochs with a measured power that a trial trained itself."""
    return [epoch for epoch in record.epochs[record.planned.inherited :] if GPU_POWER in epoch]


@dataclass
class _Node:
    """What trials do on a node now."""

    trials: int = 0
    gpus: str = ""
    devices: frozenset[str] = frozenset()
    memory: float = 0.0


def nodes_table(store: Store, spent: Spent, live: Sequence[Record]) -> Table | None:
    """GPUs by node: trials on them now, memory in use, GPU-hours; None for a study without GPUs."""
    nodes = {name: _Node() for name in spent.gpu_seconds}
    for record in live:
        claim = store.last_claim(record.key) or {}
        if not claim.get("gpu"):
            continue
        node = nodes.setdefault(str(claim.get("host", "")), _Node())
        node.trials, node.gpus = node.trials + 1, str(claim["gpu"])
        node.devices |= set(str(claim.get("devices", "")).split(",")) - {""}
        node.memory = max(node.memory, record.last(GPU_MEMORY) or 0.0)
    if not nodes:
        return None
    table = figures_table("node", ("GPU", "trials now", "per GPU", "memory in use", "GPU-hours"))
    for name, node in sorted(nodes.items()):
        each = f"{node.trials / len(node.devices):.2g}" if node.devices else ""
        memory = f"{node.memory / GIB:.1f} GiB" if node.memory else ""
        hours = f"{spent.gpu_seconds.get(name, 0.0) / HOUR_S:.3g}"
        table.add_row(name or "unknown", node.gpus, str(node.trials or ""), each, memory, hours)
    return table


def _budget(specification: JsonObject) -> tuple[BudgetSection, bool]:
    """The limits, and whether they cannot be told, as they come from environment variables."""
    try:
        return BudgetSection.model_validate(specification.get("budget") or {}), False
    except ValidationError:
        return BudgetSection(), True


def _setting(specification: JsonObject, section: str, key: str) -> JsonValue:
    values = specification.get(section)
    return values.get(key) if isinstance(values, dict) else None


def _wanted(
    spent: Spent,
    records: Sequence[Record],
    plans: Sequence[StagePlan],
    specification: JsonObject,
    taken: Mapping[Stage, Sequence[TakenLook]],
) -> Iterator[Wanted]:
    """What is left of each stage that is known, at the pace so far."""
    pace, longest = Pace.of(spent), max((record.planned.epochs for record in records), default=0)
    seconds = pace.seconds * longest if pace else 0.0
    trials, references = (_setting(specification, "search", key) for key in ("trials", "references"))
    if isinstance(trials, int):
        total = trials + (len(references) if isinstance(references, list) else 0)
        ended = sum(r.state.final for r in records if r.planned.kind in ("search", "reference"))
        yield Wanted("search", max(0, total - ended), seconds)
    for plan in plans:
        runs = [r for r in records if r.planned.kind == plan.stage and r.state.final]
        arms = len(plan.arms)
        left = max(0, sum(blocks_of(plan, taken).values()) - len(runs))
        yield Wanted(plan.stage, left, seconds, arms, len(plan.seeds) - -(-left // arms))
