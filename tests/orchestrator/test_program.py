"""The one command: its table, what it costs to start, and how it ends."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from orchestrator import __main__ as program
from orchestrator import __version__
from orchestrator.__main__ import COMMANDS, main
from orchestrator.store import checkout
from orchestrator.store.commands import again, of_study
from trainable.program import PROGRAM, UNWRITTEN

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "ray", "mlflow", "optuna", "numpy", "pydantic", "pyarrow", "rich", "yaml")


@pytest.fixture
def started_as_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This process as if the console script had started it, which lies on no PATH."""
    script = tmp_path / "bin of mine" / PROGRAM
    script.parent.mkdir()
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(script)])
    monkeypatch.setattr(sys, "path", [str(script.parent), *sys.path])
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    return script


def shell(line: str) -> subprocess.CompletedProcess[str]:
    command = f"{sys.executable} -m orchestrator {line}"
    return subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_is_there_and_says_how_it_was_started(
    command: program.Command, started_as_program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = import_module(command.module)
    assert callable(getattr(module, command.entry))
    assert module.parser().prog == f"dropclass {command.name}"
    monkeypatch.setattr(sys, "argv", ["sweep.py"])
    assert module.parser().prog == f"python -m {command.module.removesuffix('.__main__')}"


def test_each_name_stands_once_and_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    names = [command.name for command in COMMANDS]
    assert len(set(names)) == len(names)
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.partition("commands:\n")[2].splitlines()[: len(names)]] == names
    assert main([]) == 2
    assert capsys.readouterr().out == out


@pytest.mark.parametrize("words", ["", "--help", "--version", "help"])
def test_nothing_heavy_is_imported_before_a_command_is_chosen(words: str) -> None:
    code = f"""import sys
from orchestrator.__main__ import main
main({words.split()})
print([name for name in {HEAVY} if name in sys.modules])"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["swep"], "unknown command 'swep'; one of "),
        (["swep"], "(did you mean 'sweep'?)"),
        (
            ["--vers"],
            "unknown option '--vers'; one of --help, --version, --print-completion (did you mean '--version'?)",
        ),
        (["--print-completion"], "--print-completion: takes one of bash, zsh, fish"),
        (["--print-completion", "tcsh"], "--print-completion: takes one of bash, zsh, fish"),
    ],
)
def test_a_mistake_is_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert said in err


def test_a_mistake_of_a_command_keeps_its_exit_code_and_usage(
    started_as_program: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status"]) == 2
    assert capsys.readouterr().err.startswith("usage: dropclass status ")
    assert main(["help", "sweep"]) == 0
    assert capsys.readouterr().out.startswith("usage: dropclass sweep ")


def test_modules_of_this_folder_are_found_as_python_m_finds_them(
    started_as_program: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(started_as_program.parents[1])
    assert main(["init"]) == 0
    assert sys.path[0] == str(started_as_program.parents[1])


def test_the_version_names_the_commit_of_a_checkout_and_of_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def git(*words: str) -> str:
        identity = ("-c", "user.name=n", "-c", "user.email=e@x")
        done = subprocess.run(
            ["git", "-C", str(tmp_path), *identity, *words], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    package = tmp_path / "site-packages" / "orchestrator"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    monkeypatch.setattr(checkout, "PACKAGE", package)
    plain = f"dropclass-orchestrator {__version__}"
    assert main(["--version"]) == 0
    git("init", "-q")
    (tmp_path / "other").write_text("")
    git("add", "other")
    git("commit", "-qm", "somebody else's repository")
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"{plain}\n{plain}\n"
    git("add", ".")
    git("commit", "-qm", "a checkout")
    assert main(["--version"]) == 0
    assert main(["sweep", "--version"]) == 0
    line = f"{plain} (commit {git('rev-parse', 'HEAD')[:12]}"
    assert capsys.readouterr().out == f"{line})\n{line})\n"
    (package / "__init__.py").write_text("changed")
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"{line}, changed since)\n"


def test_a_reader_that_goes_away_and_an_output_that_cannot_be_written_end_quietly() -> None:
    gone = shell("schema | true; exit ${PIPESTATUS[0]}")
    assert (gone.returncode, gone.stderr) == (1, "")
    full = shell("--help > /dev/full")
    assert full.returncode == 1
    assert full.stderr == "python -m orchestrator: what it prints cannot be written: No space left on device\n"
    closed = shell("--help >&-")
    assert (closed.returncode, closed.stderr) == (0, "")


def test_ctrl_c_while_a_command_is_imported_is_quiet(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_module: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(program, "import_module", interrupted)
    assert main(["report", "study"]) == 130
    assert capsys.readouterr() == ("", "")


def test_printed_commands_are_those_of_who_started(started_as_program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert again(["a b.yaml"]) == f"'{started_as_program}' sweep 'a b.yaml'"
    assert of_study("orchestrator.status", "s", "studies") == f"'{started_as_program}' status s --storage studies"
    started_as_program.chmod(0o644)  # not what a shell can start
    assert "-m orchestrator.sweep" in again(["a b.yaml"])
    monkeypatch.setattr(sys, "argv", ["sweep.py"])
    assert "-m orchestrator.status" in of_study("orchestrator.status", "s", "studies")


LEAVING = """
import atexit
from trainable.program import leave
class Kept:
    def __del__(self):
        print("collected")
kept = Kept()
atexit.register(print, "hook")
print("told")
leave(3)
"""


def test_a_process_leaves_behind_its_hooks_and_its_last_word_and_before_the_collector() -> None:
    done = subprocess.run([sys.executable, "-c", LEAVING], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (3, "told\nhook\n")


def test_a_last_word_that_cannot_be_written_has_pythons_own_exit_code() -> None:
    line = "import sys; from trainable.program import leave; sys.stdout = open('/dev/full', 'w'); print(1); leave(0)"
    assert subprocess.run([sys.executable, "-c", line], cwd=ROOT, check=False).returncode == UNWRITTEN


COLLECTOR = """
import gc
from orchestrator import sweep
from trainable.program import collect_as_usual
usual = gc.get_threshold()
collect_as_usual()
assert gc.get_freeze_count() == 0, "of a process that is not the command's nothing is left out"
sweep._main = lambda *_: int(gc.get_threshold()[0] > usual[0])
assert sweep.run_process([]) == 1
collect_as_usual()
assert gc.get_threshold() == usual
assert gc.get_freeze_count() > 0
"""


def test_the_collector_comes_rarely_until_trials_run_and_leaves_out_what_is_loaded() -> None:
    subprocess.run([sys.executable, "-c", COLLECTOR], check=True)
