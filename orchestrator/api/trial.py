"""A trial of a study as it may be shown: what was planned, what it reached, where its weights lie."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

from pydantic import JsonValue

from orchestrator.store import layout
from orchestrator.store.artifacts import read_picture
from orchestrator.store.kept_weights import with_kept_weights
from orchestrator.store.masking import shown_config, shown_text
from orchestrator.store.records import Store
from orchestrator.store.trial_record import Record, State
from orchestrator.studyfile import Objective
from trainable.configfile.node import Scalar
from trainable.configfile.trees import escaped, write_yaml
from trainable.evaluate.metrics.best_epoch import BestEpoch
from trainable.suppression.unused import without_unused

Metrics = Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Trial:
    """A trial, or a run of an arm. Settings that came from ``${NAME}`` show the name, never the value."""

    key: str
    """Name of its directory: ``search-0003``, ``reference-plain``, ``ablation-0012``."""
    kind: str
    """``search``, ``reference``, ``imported``, ``confirm``, ``ablation`` or ``prefix``."""
    state: State
    """``complete``, ``pruned``, ``failed``, ``running`` or ``interrupted``."""
    reason: str | None
    """Why it failed, was stopped early or interrupted."""
    arm: str | None
    """Of a comparison: which arm it is a run of."""
    block: int | None
    """Of a comparison: position of its seed; runs of a block are paired."""
    seed: int
    picks: Mapping[str, Scalar] = field(repr=False)
    """What was picked for each domain; empty for a reference outside of the space and in comparisons."""
    config: Mapping[str, JsonValue] = field(repr=False)
    """Its whole configuration, nested as in a study file."""
    epochs: tuple[Metrics, ...] = field(repr=False)
    """Metrics of each epoch by their names; the first is epoch 1."""
    objectives: tuple[Objective, ...] = field(repr=False)
    """What the study optimises."""
    _store: Store = field(repr=False)
    _record: Record = field(repr=False)
    _from_env: Mapping[str, str] = field(repr=False)

    @classmethod
    def of(
        cls,
        record: Record,
        visible: Record,
        objectives: tuple[Objective, ...],
        store: Store,
        from_env: Mapping[str, str],
    ) -> "Trial":
        """The trial of a record, which weights are found by, and of the record as it may be shown."""
        planned = visible.planned
        return cls(
            key=planned.key,
            kind=planned.kind,
            state=visible.state,
            reason=visible.reason,
            arm=planned.arm,
            block=planned.block,
            seed=int(str(planned.config["seed"])),
            picks=MappingProxyType(dict(planned.picks or {})),
            config=MappingProxyType(planned.config),
            epochs=tuple(MappingProxyType(dict(epoch)) for epoch in visible.epochs),
            objectives=objectives,
            _store=store,
            _record=record,
            _from_env=from_env,
        )

    @property
    def complete(self) -> bool:
        """Whether it was trained to its end; no other trial enters a statistic."""
        return self.state is State.COMPLETE

    @property
    def metrics(self) -> Metrics:
        """Metrics of the last epoch; empty before the first."""
        return self.epochs[-1] if self.epochs else MappingProxyType({})

    @property
    def objective(self) -> float | None:
        """The last epoch's value of the first objective: what the study decides by."""
        return self.metrics.get(self.objectives[0].metric)

    @property
    def best_epoch(self) -> BestEpoch | None:
        """Value and number of the best epoch; biased, as it was chosen for being good, and decides nothing."""
        return self.best_epoch_of(self.objectives[0])

    def best_epoch_of(self, objective: Objective) -> BestEpoch | None:
        """The same for any objective."""
        return self._record.best_epoch(objective)

    @property
    def weights(self) -> str | None:
        """Address of the checkpoint of its last kept epoch; None where none is kept.

        A search keeps the weights of its best trial alone. `load_model` reads them, `predict` uses them.

        Raises:
            OSError: The storage cannot be used.
        """
        names = self._store.checkpoints(self.key)
        return self._store.path(f"{layout.TrialFiles(self.key).folder}/{names[0]}") if names else None

    @property
    def yaml(self) -> str:
        """Its configuration as a file for ``python -m trainable``, which trains it alone, again.

        ``${NAME}`` stands where the study file named a variable; the reader of the file expands it.
        """
        config = without_unused(with_kept_weights(self._store, self._record.planned.config))
        return write_yaml(shown_config(escaped(config), self._from_env), ascii_only=False)

    @cached_property
    def pictures(self) -> Mapping[str, bytes]:
        """PNG files that it left, by name: ``validation_last.png`` holds images, truth and prediction."""
        files = {name: read_picture(self._store.objects, self.key, name) for name in layout.PICTURES}
        return MappingProxyType({name: content for name, content in files.items() if content is not None})

    @cached_property
    def logs(self) -> Mapping[str, str]:
        """What it printed, and the traceback of one that failed, by name; values of ``${NAME}`` by name."""
        texts = self._store.texts(self._record)
        config = self._record.planned.config
        return MappingProxyType({name: shown_text(text, config, self._from_env) for name, text in texts.items()})
