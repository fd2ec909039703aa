"""``gpu: auto``: each trial gets the share of a GPU that trials of its kind were measured to need.

The first trial of a memory class waits for a probe, which takes what room there is: a GPU, or a half or a quarter of
one that others share; where that is too little, a whole one. What trials themselves report refines the measure.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from orchestrator.driver.capacity import Demand
from orchestrator.driver.ladder import may_recompute
from orchestrator.driver.memory_class import memory_class
from orchestrator.driver.packing import Card, Share, no_card, shares, whole
from orchestrator.store.gpu_peaks import GpuPeaks
from orchestrator.store.trial_record import Planned, Rung, Setback
from orchestrator.worker.job import Measured, RanOut, WorkerOutcome
from trainable.failure import GIB

PROBE_PARTS = (0.5, 0.25)
"""Of a GPU that others share, in which a probe is tried before it waits for a whole one."""
PROBES = 3
"""Attempts at a probe whose memory others took."""


@dataclass(frozen=True)
class Start:
    """A trial that begins now, or the probe of one."""

    planned: Planned
    demand: Demand
    rung: Rung = "shared"
    measures: str | None = None
    """Memory class that a probe measures; None where the trial itself runs."""


class Sharing:
    """What is known of the memory of trials and cards, and what it makes of both.

    Args:
        cpu: What each trial takes of a node's CPUs.
        peaks: What was measured, over all launches.
        cards: Tells the GPUs that there are now; none where that is not known.
        say: Tells the user what was measured.
    """

    def __init__(
        self, cpu: float, peaks: GpuPeaks, cards: Callable[[], Sequence[Card]], say: Callable[[str], None]
    ) -> None:
        self._cpu, self._peaks, self._say = cpu, peaks, say
        self._known_cards = cards
        self._probing: set[str] = set()
        self._needs_a_whole: set[str] = set()
        self._unmeasurable: set[str] = set()
        self._too_large: dict[str, Setback] = {}
        self._disturbed: dict[str, int] = {}

    def start(self, planned: Planned, rung: Rung, fits: Callable[[Demand], bool]) -> Start | str | None:
        """How a trial begins now: itself or its probe; None where it waits, a string says why no card holds it."""
        if rung == "shared" and self.waits_for_probe(planned):
            return None
        name = memory_class(planned.config)
        if rung == "shared" and (setback := self._too_large.get(name)) is not None:
            if not may_recompute(planned.config):
                cards = self._cards(planned)
                return no_card(setback.peak or setback.total or 0, cards, planned.batch_size)
            rung = "recompute"
        elif rung == "shared" and self._peaks.of(name) is None and name not in self._unmeasurable:
            return self._probe(planned, name, fits)
        return next((option for option in self.options(planned, rung) if fits(option.demand)), None)

    def options(self, planned: Planned, rung: Rung) -> list[Start]:
        """Where a trial may run, the best place first, whether there is room now or not; there is always one.

        A peak that no card holds was another trial's: this one is tried alone before anybody says that it does not fit.
        """
        name, cards = memory_class(planned.config), self._cards(planned)
        peak = self._peaks.of(name)
        fitting = [] if rung != "shared" or peak is None else shares(peak.peak, cards)
        return [self._start(planned, share, rung) for share in fitting or whole(cards)]

    def waits_for_probe(self, planned: Planned) -> bool:
        """Whether the trial's kind is being measured."""
        return memory_class(planned.config) in self._probing

    @property
    def probes(self) -> int:
        """Kinds of trials that are being measured."""
        return len(self._probing)

    @property
    def largest(self) -> int | None:
        """Bytes of the largest GPU there is; None where nobody knows."""
        return max((card.total for card in self._known_cards()), default=None)

    @property
    def least(self) -> Demand:
        """The smallest room in which something may begin: a probe, or a trial of the cheapest kind that is known."""
        cheapest = self._peaks.smallest()
        cards = self._known_cards() or ([Card(None, cheapest.total)] if cheapest else [])
        known = shares(cheapest.peak, cards) if cheapest else []
        return Demand(self._cpu, min([share.gpu for share in known] + [PROBE_PARTS[-1]]))

    def take(self, start: Start, outcome: WorkerOutcome | None) -> None:
        """Take what came of a probe; None where its worker was lost for good."""
        name, key = start.measures, start.planned.key
        assert name is not None
        self._probing.discard(name)
        match outcome:
            case Measured(peak, total):
                self._peaks.observe(name, peak, total, key)
                self._say(f"{key}: trials of its kind hold {peak / GIB:.2f} GiB of a GPU's {total / GIB:.1f} at most")
            case RanOut(setback):
                self._take_setback(name, start, setback)
            case _:  # the trial itself tells what is wrong with it
                self._unmeasurable.add(name)

    def observe(self, planned: Planned, peak: float) -> None:
        """Take the peak that a trial reports of itself: the next estimate is the largest that was seen."""
        self._peaks.observe(memory_class(planned.config), int(peak), 0, planned.key)

    def _take_setback(self, name: str, start: Start, setback: Setback) -> None:
        if setback.by_others:
            self._disturbed[name] = self._disturbed.get(name, 0) + 1
            if self._disturbed[name] >= PROBES:
                self._unmeasurable.add(name)
        elif start.demand.gpu < 1:
            self._needs_a_whole.add(name)
        else:
            self._too_large[name] = setback

    def _probe(self, planned: Planned, name: str, fits: Callable[[Demand], bool]) -> Start | None:
        parts = [] if name in self._needs_a_whole else [Share(part) for part in PROBE_PARTS]
        for share in (*whole(self._cards(planned)), *parts):
            start = replace(self._start(planned, share, "shared"), measures=name)
            if fits(start.demand):
                self._probing.add(name)
                return start
        return None

    def _start(self, planned: Planned, share: Share, rung: Rung) -> Start:
        return Start(planned, Demand(self._cpu, share.gpu, share.node), rung)

    def _cards(self, planned: Planned) -> Sequence[Card]:
        """The cards that there are; where nobody knows them, the one of the probe."""
        peak = self._peaks.of(memory_class(planned.config))
        return self._known_cards() or ([Card(None, peak.total)] if peak and peak.total else [])
