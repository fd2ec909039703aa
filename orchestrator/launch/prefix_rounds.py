"""Which prefixes a launch has yet to train, which trial begins with which, how long their checkpoints are needed."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace

from orchestrator.plan.prefixes import Prefix, inherited, prefix_key, shared_prefixes
from orchestrator.store.records import Store
from orchestrator.store.trial_record import Planned, Record, State
from orchestrator.studyfile import ResourcesSection
from trainable.config import read_trial


class PrefixRounds:
    """The prefixes of a launch; ``records`` are those of all trials, kept up to date by their owner."""

    def __init__(
        self, store: Store, resources: ResourcesSection, records: Mapping[str, Record], say: Callable[[str], None]
    ) -> None:
        self._store, self._resources = store, resources
        self._records, self._say = records, say
        self._keys: dict[str, str | None] = {}
        self._tried: set[str] = set()
        self._told: set[str] = set()
        self._released: set[str] = set()

    def shared(self, runs: Iterable[Planned]) -> Mapping[str, Prefix]:
        """The prefixes that runs which have not begun share; none where the study shares none."""
        unbegun = [planned for planned in runs if self._unbegun(planned)]
        return shared_prefixes(unbegun, self._resources) if self._resources.share_prefixes else {}

    def to_train(self, prefixes: Mapping[str, Prefix]) -> list[Planned]:
        """The prefixes that are to be trained before their heirs, once in a launch."""
        lacking = [prefix.planned for prefix in prefixes.values() if self._lacks(prefix)]
        wanted = [planned for planned in lacking if planned.key not in self._tried]
        self._tried.update(planned.key for planned in wanted)
        self._released.difference_update(self._tried)
        return sorted(wanted, key=lambda planned: planned.key not in self._records)  # what was begun goes on first

    def known(self, planned: Planned) -> Record | None:
        """What earlier launches left of a prefix that is to be trained; nothing of one that is trained anew."""
        record = self._records.get(planned.key)
        return None if record is None or record.state.final else replace(record, planned=planned)

    def heir(self, planned: Planned) -> Planned:
        """A trial with the prefix that it begins with, if there is one; one that has begun goes on as it did."""
        if not self._unbegun(planned):
            return planned
        key = self._key(planned) if self._resources.share_prefixes else None
        record = self._records.get(key or "")
        epochs = 0
        if record is not None and record.state is State.COMPLETE:
            kept = {name.epoch for name in self._store.kept_starts(record.planned)}
            epochs = inherited(read_trial(planned.config), kept)
        return replace(planned, prefix=key if epochs else None, inherited=epochs)

    def release(self, runs: Iterable[Planned]) -> None:
        """Remove the checkpoints of the prefixes of these runs of which no heir is still to end."""
        complete = self._complete()
        heirs = [(self._key(planned), self._has_ended(planned)) for planned in runs] if complete else []
        open_keys = {key for key, ended in heirs if not ended}
        self._drop(complete & {key for key, ended in heirs if ended} - open_keys)

    def release_all(self) -> None:
        """Remove the checkpoints of all prefixes: nothing is left to run."""
        self._drop(self._complete())

    def _drop(self, keys: Iterable[str]) -> None:
        for key in keys:
            with suppress(OSError):  # they are only in the way; the next launch tries again
                self._store.drop_checkpoints(key)
                self._released.add(key)

    def _complete(self) -> set[str]:
        """Prefixes that may still have their checkpoints."""
        prefixes = (record for record in self._records.values() if record.planned.kind == "prefix")
        return {record.key for record in prefixes if record.state is State.COMPLETE} - self._released

    def _has_ended(self, planned: Planned) -> bool:
        return planned.key in self._records and self._records[planned.key].state.final

    def _lacks(self, prefix: Prefix) -> bool:
        """Whether a prefix has not what its heirs begin from, and may come to have it."""
        record = self._records.get(prefix.planned.key)
        if record is None or not record.state.final:
            return True
        if record.state is State.FAILED:
            if record.key in self._told:
                return False
            self._told.add(record.key)
            runs = f"its {len(prefix.heirs)} runs train" if prefix.heirs else "its trials train"
            self._say(f"{record.key} failed ({record.reason}); {runs} these epochs themselves")
            return False
        return not {name.epoch for name in self._store.kept_starts(record.planned)}.issuperset(prefix.planned.starts)

    def _unbegun(self, planned: Planned) -> bool:
        record = self._records.get(planned.key)
        return record is None or not record.epochs

    def _key(self, planned: Planned) -> str | None:
        if planned.key not in self._keys:
            self._keys[planned.key] = prefix_key(read_trial(planned.config), self._resources)
        return self._keys[planned.key]
