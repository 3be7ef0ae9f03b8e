"""The docs: every link inside the project leads somewhere, and every command shown is one that there is."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from scicevpr.cli.main import build_parser

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
BLOCK = re.compile(r"```bash\n(.*?)```", re.DOTALL)
IDS = [page.name for page in PAGES]


def anchors(page: Path) -> set[str]:
    """The headings of a page as links name them."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        if not found.exists() or (anchor and found.suffix == ".md" and anchor not in anchors(found)):
            broken.append(target)
    assert broken == []


def commands(page: Path) -> list[str]:
    """The `scicevpr` lines of the bash blocks, without comments, continued lines joined."""
    found = []
    for block in BLOCK.findall(page.read_text(encoding="utf-8")):
        for line in block.replace("\\\n", " ").splitlines():
            words = line.strip()
            if words.startswith("scicevpr ") and not re.search(r"[|<>$&;]|\.\.\.", words.partition("  #")[0]):
                found.append(words)
    return found


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_commands_are_ones_that_there_are(page: Path, capsys) -> None:
    wrong = []
    for line in commands(page):
        try:
            build_parser().parse_args(shlex.split(line, comments=True)[1:])
        except SystemExit as ended:
            if ended.code:
                wrong.append((line, capsys.readouterr().err.strip().splitlines()[-1]))
    assert wrong == []


def test_every_page_stands_in_the_sites_navigation() -> None:
    named = set(re.findall(r": (\w+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE))
    assert named == {page.name for page in (ROOT / "docs").glob("*.md")}
