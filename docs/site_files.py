"""What mkdocs needs to make one site of docs/ and the pages that lie beside it (a hook of mkdocs.yml).

Pages link to each other by their places in the repository, so that the links work where the repository is read. In the
site docs/ is the root, and README.md, CONTRIBUTING.md and every other linked file of the repository keep their places
beside it. A link is therefore resolved in the repository first, then written anew as the site has it.
"""

import os
import re
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
LINK = re.compile(r"(?<=\]\()(?P<path>[^)\s#:]+)(?=[)#])")
"""The path of a Markdown link or picture; addresses (with a colon) and anchors alone stay as they are."""
BESIDE = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/RESULTS.md")
"""Pages that do not lie in docs/."""


def place_in_site(repository_path: str) -> str:
    """Where the site has a file of the repository."""
    return repository_path.removeprefix("docs/")


def linked(text: str, page: str) -> dict[str, str]:
    """Links of a page that lies at ``page`` in the repository, each with the place of what it names, there."""
    folder = PurePosixPath(page).parent
    return {path: os.path.normpath(folder / path) for path in LINK.findall(_without_code(text))}


def _without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def _in_repository(page: str) -> str:
    return page if page in BESIDE else f"docs/{page}"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages beside docs/, and every file of the repository that a page links to."""
    for name in BESIDE:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    for page in [file for file in files if file.is_documentation_page()]:
        for place in linked(page.content_string, _in_repository(page.src_uri)).values():
            target = place_in_site(place)
            if (ROOT / place).is_file() and target not in files.src_uris:
                files.append(File.generated(config, target, abs_src_path=str(ROOT / place)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 - mkdocs'
    """Write the links of a page as the site has them."""
    here = page.file.src_uri
    folder = PurePosixPath(here).parent
    targets = linked(markdown, _in_repository(here))

    def anew(link: re.Match[str]) -> str:
        place = targets.get(link["path"])
        return link["path"] if place is None else os.path.relpath(place_in_site(place), folder)

    return LINK.sub(anew, markdown)
