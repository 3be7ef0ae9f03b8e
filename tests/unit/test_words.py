"""One word for one thing: none of the words that were given up stands in code, page, command line help or docs."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXTS = (".py", ".md", ".ipynb", ".json", ".toml", ".yaml", ".yml", ".js", ".css", ".html", ".txt", ".cff")
SKIPPED = (
    "assets/",  # recorded with the weights
    "CHANGELOG.md",  # tells what the words were before
    "tests/unit/test_words.py",
)

GIVEN_UP = {
    "[Cc]ompany": "the other photos in the batch, batch_mates",
    "batch_lanes": "parallel batches",
    "in_lanes": "parallel batches",
    "ModelRooms": "model slots",
    "Laboratory": "stability",
    r"labs?|lab_\w+": "stability setup",
    r"(?<!vpr_)bench_\w+": "benchmarks",
    "Judgement": "relevance",
    "right_photos": "positives",
    r"[Ff]oreign[ _-](?:model|network|source|weight)s?": "external models",
    "own_files": "native checkpoints",
    "key_check": "state-dict check",
    "Workshop": "builder",
    "index_steps": "resumable steps",
    "index_parts": "resumable steps",
    "plain_npy": "safe npy",
    "row_store": "descriptor writer",
    "kept_folders": "temporary folders",
    "eight_bit": "int8",
    "inverted_lists": "IVF-PQ",
    "[Ss]hortlists?": "rerank_k",
}
"""Pattern -> the field's word. Words with an ordinary meaning elsewhere (places, lists, facts) are not here."""

NAMES = re.compile(r"\.lab\b")  # hosts of tests of the gate, such as studio.lab


def _texts() -> dict[str, str]:
    """Every text of the project, by its path."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    paths = [name for name in listed.split("\0") if name.endswith(TEXTS) and not name.startswith(SKIPPED)]
    return {name: NAMES.sub("", (ROOT / name).read_text(encoding="utf-8")) for name in paths if (ROOT / name).exists()}


def test_no_word_given_up_stands_anywhere():
    texts = _texts()
    if not texts:
        pytest.skip("no git here")
    word = re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(GIVEN_UP)})(?![A-Za-z0-9])")
    found = [
        f"{name}, line {text.count(chr(10), 0, match.start()) + 1}: {match[0]}"
        for name, text in texts.items()
        for match in word.finditer(text)
    ]
    assert found == [], f"the words are: {GIVEN_UP}"
