"""The words of the field, each explained in one or two sentences (glossary.txt), to be listed, searched and linked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Term:
    """A word of the field. also: other forms in which it is written, in texts and searches."""

    name: str
    meaning: str
    also: tuple[str, ...] = ()

    @property
    def anchor(self) -> str:
        """Its id on the page."""
        return "term-" + re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")


def _read(path: Path) -> tuple[Term, ...]:
    """The terms of a file, in alphabetical order."""
    entries = (line.split(" | ", 2) for line in path.read_text(encoding="utf-8").splitlines()[1:])
    terms = (Term(name, meaning, tuple(filter(None, also.split(", ")))) for name, also, meaning in entries)
    return tuple(sorted(terms, key=lambda term: term.name.lower()))


TERMS = _read(Path(__file__).with_name("glossary.txt"))


def search_terms(text: str) -> tuple[Term, ...]:
    """Terms in which every word of the text occurs: first those with all words in their names, then the others."""
    words = text.lower().split()

    def among(term: Term, named: bool) -> bool:
        written = " ".join((term.name, *term.also)).lower()
        return all(word in (written if named else f"{written} {term.meaning.lower()}") for word in words)

    first = [term for term in TERMS if among(term, named=True)]
    return (*first, *(term for term in TERMS if term not in first and among(term, named=False)))


def terms_in(text: str) -> list[tuple[int, int, Term]]:
    """Where terms occur in a text, in order: (start, end, term); each term once, of overlapping ones the longest."""
    found = []
    taken: set[str] = set()
    for match in _PATTERN.finditer(text):
        term = _BY_FORM[match.group(0).lower()]
        if term.name not in taken:
            taken.add(term.name)
            found.append((match.start(), match.end(), term))
    return found


_BY_FORM = {form.lower(): term for term in TERMS for form in (term.name, *term.also)}
_PATTERN = re.compile(
    r"(?<![\w@-])(?:" + "|".join(re.escape(form) for form in sorted(_BY_FORM, key=len, reverse=True)) + r")(?![\w@-])",
    re.IGNORECASE,
)
