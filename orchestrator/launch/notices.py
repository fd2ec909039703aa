"""Tells whoever ``tracking.notify`` names that a launch has ended, failed or was stopped.

Not told: a dry run, a launch that found nothing left to run, and what was refused before anything was started, as
whoever gave the command is still there. Nothing about it changes how the launch ends.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import EX_TEMPFAIL
from typing import Literal

from orchestrator.driver.stop import Stop
from orchestrator.errors import InputError, TryAgain, one_line
from orchestrator.launch.notice_command import SETTING, NoticeCommand
from orchestrator.store.ranking import ranked
from orchestrator.store.short_picks import short_picks
from orchestrator.store.trial_record import Record, State
from orchestrator.studyfile import Study
from trainable.configfile.node import JsonObject

LIMIT_S = 30.0
"""How long the command may take."""
LEAST_S = 5.0
"""What it has at least where the launch was stopped; it has what is left of ``resources.stop_grace_s``."""
MARGIN_S = 5.0
"""How long the main thread may take to leave it."""
MOST_CHARACTERS = 10_000
"""Of an environment variable; the system allows no more than ten times as much."""

Outcome = Literal["finished", "failed trials", "stopped", "failed"]


class EndNotice:
    """What is told of the end of a launch."""

    def __init__(self, study: Study, stop: Stop, command: str) -> None:
        self._study, self._stop, self._command = study, stop, command
        self._program = NoticeCommand(study)
        self._facts: JsonObject = {}
        self.due = False
        """Whether the end is worth telling: something was started."""

    def check(self) -> None:
        """Refuse a command that this machine does not have; raises InputError."""
        self._program.check()

    def take(
        self,
        records: Sequence[Record],
        places: Mapping[str, str | None],
        answers: Sequence[str],
        *,
        problem: str | None,
        seconds: float,
    ) -> None:
        """Take what came of the launch; records as they may be shown."""
        trials = [record for record in records if record.planned.kind != "prefix"]
        counts = {str(state): sum(record.state is state for record in trials) for state in State}
        self._facts = {
            "reason": problem,
            "trials": {state: count for state, count in counts.items() if count},
            "best": self._best(records),
            "answer": list(answers),
            "failed": [{"trial": r.key, "reason": r.reason} for r in records if r.state is State.FAILED],
            "directory": places.get("study"),
            "page": places.get("page"),
            "report": places.get("report"),
            "seconds": round(seconds, 1),
        }

    def send(self, code: int, error: BaseException | None = None) -> None:
        """Tell it, if it is due, and say in a line where that does not work."""
        if not self.due or self._program.written is None:
            return
        notice: JsonObject = {"study": self._study.spec.study, "outcome": self._outcome(code, error), "exit_code": code}
        notice |= self._facts | ({"reason": one_line(error)} if error is not None and str(error) else {})
        notice["continue"] = None if code == 0 else self._command
        limit_s = self._limit_s()
        patience_s = limit_s + 1 if self._stop.requested else 0.0
        try:
            with self._stop.section(
                lambda: f"waiting for {SETTING}", patience_s=patience_s, limit_s=limit_s + MARGIN_S
            ):
                problem = self._program.run(notice, variables(notice), limit_s)
        except KeyboardInterrupt:
            problem = f"{SETTING}: ended by the stop"
        except Exception as trouble:  # whoever is told must never be the study's trouble
            problem = f"{SETTING}: {one_line(trouble)}"
        if problem:
            self._stop.say(problem)

    def _limit_s(self) -> float:
        if not self._stop.requested:
            return LIMIT_S
        left_s = self._study.spec.resources.stop_grace_s - self._stop.asked_s
        return min(LIMIT_S, max(LEAST_S, left_s))

    def _outcome(self, code: int, error: BaseException | None) -> Outcome:
        if self._stop.exit_code is not None or isinstance(error, TryAgain):
            return "stopped"
        if error is not None or self._facts.get("reason"):
            return "failed"
        return "failed trials" if code else "finished"

    def _best(self, records: Sequence[Record]) -> JsonObject | None:
        """The best trial of the search, by the first objective."""
        objectives = self._study.spec.objectives
        top = next(iter(ranked(records, objectives)), None)
        if top is None:
            return None
        values = {objective.metric: top.last(objective.metric) for objective in objectives}
        return {
            "trial": top.key,
            "picks": dict(top.planned.picks or {}),
            "short": short_picks(top.planned.picks),
            "values": dict(values),
        }


@contextmanager
def end_told(study: Study, stop: Stop, command: str) -> Iterator[EndNotice]:
    """A launch whose end is told where it raises something; where it does not, the caller calls `EndNotice.send`."""
    notice = EndNotice(study, stop, command)
    try:
        yield notice
    except (KeyboardInterrupt, Exception) as error:
        notice.send(_code_of(error, stop), error)
        raise


def _code_of(error: BaseException, stop: Stop) -> int:
    """The exit code that the command will give."""
    if stop.exit_code is not None:
        return stop.exit_code
    return 2 if isinstance(error, InputError) else EX_TEMPFAIL if isinstance(error, TryAgain) else 1


def variables(notice: JsonObject) -> dict[str, str]:
    """The environment of the command: the notice as text, for a line of a script."""
    best, answer, failed = notice.get("best"), notice.get("answer"), notice.get("failed")
    texts = {
        "STUDY": notice["study"],
        "OUTCOME": notice["outcome"],
        "EXIT_CODE": notice["exit_code"],
        "REASON": notice.get("reason"),
        "ANSWER": "\n".join(map(str, answer)) if isinstance(answer, list) else None,
        "BEST": best.get("short") if isinstance(best, dict) else None,
        "FAILED": len(failed) if isinstance(failed, list) else None,
        "DIRECTORY": notice.get("directory"),
        "PAGE": notice.get("page"),
        "REPORT": notice.get("report"),
    }
    plain = {name: "" if text is None else str(text).replace("\0", "") for name, text in texts.items()}
    return {f"DROPCLASS_{name}": text[:MOST_CHARACTERS] for name, text in plain.items()}
