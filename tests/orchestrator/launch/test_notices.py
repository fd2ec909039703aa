"""Whoever `tracking.notify` names is told how a launch ended; nothing about it changes the end."""

import json
import os
import re
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.driver.stop import Stop
from orchestrator.errors import InputError, MachineError, TryAgain
from orchestrator.launch.notice_command import NoticeCommand
from orchestrator.launch.notices import EndNotice, end_told
from orchestrator.launch.one_launch import Target, launch
from orchestrator.store.trial_record import Planned, Record, State
from orchestrator.studyfile import ConfigError, Study, load

Make = Callable[..., Study]

SCRIPT = """
import json, os, sys
told = {"notice": json.load(sys.stdin), "environment": {k: v for k, v in os.environ.items() if "DROPCLASS_" in k},
        "arguments": sys.argv[1:], "blocked": open("/proc/self/status").read().split("SigBlk:")[1].split()[0]}
open("told.json", "a").write(json.dumps(told) + "\\n")
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hook.py").write_text(SCRIPT)
    return tmp_path


@pytest.fixture
def stop() -> Iterator[Stop]:
    with Stop("again", leave=lambda _code: None) as owner:
        lines: list[str] = []
        owner.say = lines.append
        owner.settle()
        yield owner


def hook(*words: str) -> str:
    return shlex.join([sys.executable, "hook.py", *words])


def notifying(study: Make, command: str, *overrides: str) -> Study:
    return study(f"tracking.notify={json.dumps(command)}", *overrides)


def told(place: Path) -> list[dict[str, Any]]:
    file = place / "told.json"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def said(stop: Stop) -> list[str]:
    return stop.say.__self__  # type: ignore[attr-defined,no-any-return]


def lives(file: Path) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(int(file.read_text())).status() != psutil.STATUS_ZOMBIE
    return False


def record(key: str, score: float, state: State = State.COMPLETE, reason: str | None = None) -> Record:
    planned = Planned(key, "search", 0, {"train": {"epochs": 1}}, {"suppression.p_max": 0.123456})
    return Record(planned, ({"val/miou": score},), state, reason)


RECORDS = [record("search-0000", 0.4), record("search-0001", 0.5), record("search-0002", 0.1, State.FAILED, "nan")]
PLACES = {"study": "/there/s", "page": "http://127.0.0.1:5000/#/x", "report": None}


def ended(study: Study, stop: Stop, *, problem: str | None = None) -> EndNotice:
    notice = EndNotice(study, stop, "again")
    notice.due = True
    notice.take(RECORDS, PLACES, ["No evidence."], problem=problem, seconds=12.34)
    return notice


def test_the_command_reads_everything_as_json_and_the_gist_as_variables(study: Make, stop: Stop, place: Path) -> None:
    ended(notifying(study, hook("two words", "$HOME")), stop).send(3)
    (one,) = told(place)
    assert one["arguments"] == ["two words", "$HOME"], "no shell"
    assert one["notice"] == {
        "study": "s",
        "outcome": "failed trials",
        "exit_code": 3,
        "reason": None,
        "trials": {"complete": 2, "failed": 1},
        "best": {
            "trial": "search-0001",
            "picks": {"suppression.p_max": 0.123456},
            "short": "p_max 0.123",
            "values": {"val/miou": 0.5},
        },
        "answer": ["No evidence."],
        "failed": [{"trial": "search-0002", "reason": "nan"}],
        "directory": "/there/s",
        "page": "http://127.0.0.1:5000/#/x",
        "report": None,
        "seconds": 12.3,
        "continue": "again",
    }
    gist = {name.removeprefix("DROPCLASS_"): text for name, text in one["environment"].items()}
    for of_others in ("CACHE", "PARTS"):
        gist.pop(of_others, None)
    assert gist == {
        "STUDY": "s",
        "OUTCOME": "failed trials",
        "EXIT_CODE": "3",
        "REASON": "",
        "ANSWER": "No evidence.",
        "BEST": "p_max 0.123",
        "FAILED": "1",
        "DIRECTORY": "/there/s",
        "PAGE": "http://127.0.0.1:5000/#/x",
        "REPORT": "",
    }
    asking = sum(1 << (number - 1) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1))
    assert not int(one["blocked"], 16) & asking, "the launch blocks them in its own threads; a command must end of them"
    assert said(stop) == []


@pytest.mark.parametrize(
    ("error", "outcome", "code"),
    [
        (InputError("a node has another version"), "failed", 2),
        (MachineError("Ray does not start"), "failed", 1),
        (TryAgain("no node came"), "stopped", 75),
        (RuntimeError("a defect"), "failed", 1),
    ],
)
def test_a_launch_that_raises_once_something_was_started_is_told(
    error: Exception, outcome: str, code: int, study: Make, stop: Stop, place: Path
) -> None:
    loaded = notifying(study, hook())
    with pytest.raises(type(error)), end_told(loaded, stop, "again"):
        raise error
    assert told(place) == [], "nothing was started"

    def fail_when_started() -> None:
        with end_told(loaded, stop, "again") as notice:
            notice.due = True
            raise error

    with pytest.raises(type(error)):
        fail_when_started()
    (one,) = told(place)
    expected = {"study": "s", "outcome": outcome, "exit_code": code, "reason": str(error), "continue": "again"}
    assert one["notice"] == expected


def test_a_stop_is_told_with_what_asked_for_it(study: Make, stop: Stop, place: Path) -> None:
    stop.ask("its time ends at 08:00", os.EX_TEMPFAIL)
    ended(notifying(study, hook()), stop, problem=stop.why).send(os.EX_TEMPFAIL)
    (one,) = told(place)
    assert (one["notice"]["outcome"], one["notice"]["exit_code"]) == ("stopped", 75)
    assert one["notice"]["reason"] == "its time ends at 08:00"


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("sh -c 'echo first; echo no route >&2; exit 7'", "tracking.notify: exit code 7: no route"),
        ("false", "tracking.notify: exit code 1"),
        ("./hook.py", "tracking.notify: cannot be started: Permission denied"),
        ("sh -c 'sleep 60 & exit 0'", None),
        (f"{sys.executable} -c 'import sys; sys.stdin.close()'", None),
    ],
)
def test_its_failure_is_one_line_and_what_it_leaves_is_not_waited_for(
    command: str, line: str | None, study: Make, stop: Stop
) -> None:
    began = time.monotonic()
    ended(notifying(study, command), stop).send(0)
    assert said(stop) == ([line] if line else [])
    assert time.monotonic() - began < 10


def test_it_has_its_time_and_in_a_stop_what_the_grace_leaves(
    study: Make, stop: Stop, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.launch.notices.LIMIT_S", 0.5)
    command = "sh -c 'sleep 61 & echo $! > pid; wait'"
    ended(notifying(study, command), stop).send(0)
    assert said(stop) == ["tracking.notify: ended after 0 s"]
    assert not lives(place / "pid"), "what it started ends with it"
    monkeypatch.setattr("orchestrator.launch.notices.LIMIT_S", 30.0)
    monkeypatch.setattr("orchestrator.launch.notices.LEAST_S", 0.7)
    said(stop).clear()
    stop.ask("its time ends", 75)
    ended(notifying(study, command, "resources.stop_grace_s=0"), stop).send(75)
    assert said(stop)[-1] == "tracking.notify: ended after 1 s"


def test_the_first_signal_ends_it_at_once_and_not_the_launch(study: Make, stop: Stop, place: Path) -> None:
    notice = ended(notifying(study, "sh -c 'echo $$ > pid; sleep 62'"), stop)
    timer = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    began = time.monotonic()
    notice.send(0)
    assert time.monotonic() - began < 5
    assert "tracking.notify: ended by the stop" in said(stop)
    assert not lives(place / "pid")


def test_values_of_variables_are_not_told(tmp_path: Path, stop: Stop, study: Make) -> None:
    path = Path("s.yaml")
    text = path.read_text() + "tracking: {notify: \"sh -c 'echo posting to $0; exit 1' ${HOOK}\"}\n"
    path.write_text(text)
    loaded = load(path, (), env={"HOOK": "https://hooks.example/T0KEN"})
    ended(loaded, stop).send(0)
    assert said(stop) == ["tracking.notify: exit code 1: posting to ***"]
    assert "T0KEN" not in json.dumps(loaded.resolved())
    path.write_text(text.replace("sh -c 'echo posting to $0; exit 1' ", ""))
    with pytest.raises(InputError) as refused:
        NoticeCommand(load(path, (), env={"HOOK": "no-T0KEN-here"})).check()
    line = len(path.read_text().splitlines())
    expected = f"s.yaml:{line} tracking.notify: no program '***' on this machine; give its whole path"
    assert str(refused.value) == expected


def test_what_is_no_program_is_told_at_its_place_in_its_words(study: Make, place: Path) -> None:
    (place / "hooks").mkdir()
    for program, lack in (
        ("./hooks", "'./hooks' is a folder; give the path of a program"),
        ("./hook.py", "'./hook.py' is not executable; chmod +x makes it so, or name"),
        ("hook.py", "no program 'hook.py' on this machine; the file here is ./hook.py"),
        ("/no/such", "no program '/no/such' on this machine"),
    ):
        with pytest.raises(InputError) as refused:
            NoticeCommand(notifying(study, program)).check()
        assert str(refused.value).startswith(f'--set tracking.notify="{program}": tracking.notify: {lack}')


@pytest.mark.parametrize(
    ("command", "mistake"),
    [("sh -c 'mail", "no closing quotation"), ("  ", "must be a command, got none"), ("", "must be a command")],
)
def test_what_is_no_command_is_told_with_the_other_mistakes(command: str, mistake: str, study: Make) -> None:
    with pytest.raises(ConfigError) as refused:
        notifying(study, command)
    assert "tracking.notify" in str(refused.value)
    assert mistake in str(refused.value)


def test_the_examples_of_the_documents_are_commands(study: Make) -> None:
    study()  # writes the file
    path = Path("s.yaml")
    text, page = path.read_text(), (Path(__file__).parents[3] / "docs/notify.md").read_text()
    examples = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    for example in examples:
        path.write_text(text + example)
        command = load(path, (), env={}).spec.tracking.notify
        assert command is not None
        assert shlex.split(command)[0] in ("mail", "sh")
    assert len(examples) == 2


def test_a_missing_program_is_told_before_anything_starts(study: Make, place: Path) -> None:
    with pytest.raises(InputError) as refused:
        launch(notifying(study, "mial -s done me"), storage="out", target=Target(), command="again")
    assert "tracking.notify: no program 'mial' on this machine" in str(refused.value)
    assert not (place / "out").exists()


@pytest.mark.integration
def test_a_study_is_told_when_it_ends_and_not_when_nothing_is_left(
    study: Make, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Path(__file__).parents[1]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(here), str(here.parents[1])]))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    loaded = notifying(study, hook(), "tracking.enabled=false", "search.trials=2", "search.references=[plain]")
    target = Target(fit="fake_fit:fit", max_concurrent=2)
    assert launch(loaded, storage="out", target=target, command="again") == 0
    (one,) = told(place)
    assert (one["notice"]["outcome"], one["notice"]["trials"]) == ("finished", {"complete": 3})
    assert one["notice"]["answer"][0].startswith("No evidence (1 seed). Best of 2, ")
    assert one["notice"]["report"] == str(place / "out/s/report/report.html")
    assert one["notice"]["continue"] is None
    assert launch(loaded, storage="out", target=target, command="again") == 0
    assert len(told(place)) == 1
    more = replace(loaded, spec=replace(loaded.spec, search=loaded.spec.search.model_copy(update={"trials": 3})))
    failing = Target(fit="fake_fit:undefined", max_concurrent=2)
    assert launch(more, storage="out", target=failing, command="again") == 3
    assert told(place)[1]["notice"]["outcome"] == "failed trials"
