"""The words of the field, each explained in one or two sentences: data that pages can list, search and link."""

from __future__ import annotations

import re
from dataclasses import dataclass


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


def _sorted(*terms: Term) -> tuple[Term, ...]:
    return tuple(sorted(terms, key=lambda term: term.name.lower()))


TERMS = _sorted(
    Term(
        "1×1 convolution",
        "A linear map that is applied to the channels at every position of a map, each by itself. Here it blends the "
        "maps of four layers into one.",
        ("1x1 convolution",),
    ),
    Term(
        "Adapter",
        "A small trained detour beside a frozen layer. CricaVPR puts one, made of convolutions, into every block of "
        "its backbone.",
        ("adapters",),
    ),
    Term(
        "Backbone",
        "The large network that turns a photo into a map of features, before anything about places is decided. Here "
        "it is a vision transformer of the DINOv2 kind.",
    ),
    Term(
        "Batch",
        "Photos that go through a model together. For the cross-image models the photos of a batch influence each "
        "other; on these pages an orange frame means “these photos shared one batch”.",
    ),
    Term(
        "Channel",
        "One of the numbers that describe a position of a map; the T models have 192 of them, the B models 768.",
        ("channels",),
    ),
    Term(
        "Class token",
        "An extra token without a place in the photo, which gathers what the whole photo shows. CricaVPR uses it as "
        "its first region vector.",
    ),
    Term(
        "Cosine similarity",
        "How alike two descriptors of length 1 are: the sum of the products of their values. 1 means the same, 0 "
        "unrelated.",
        ("similarity", "cosine"),
    ),
    Term(
        "Cross-image encoder",
        "A transformer in which the photos of a batch read each other, region by region. It helps when they show the "
        "same place, and makes a descriptor depend on the other photos of its batch.",
        ("cross-image",),
    ),
    Term(
        "Database",
        "The photos with known positions in which a query is searched; also called the reference or the gallery.",
        ("reference", "gallery"),
    ),
    Term(
        "Descriptor",
        "The list of numbers that stands for a photo; photos of one place should get similar lists. Also called a "
        "global feature or embedding.",
        ("descriptors", "embedding"),
    ),
    Term(
        "DINOv2",
        "A family of vision transformers trained on many photos without labels. Their features are good enough to be "
        "used frozen.",
    ),
    Term(
        "Distillation",
        "Training a student model to give the same outputs as a teacher. SciceVPR learns in this way what "
        "Super-CricaVPR finds out by comparing the photos of a batch.",
        ("teacher", "student"),
    ),
    Term(
        "Domain shift",
        "A difference in how query and database look although they show the same place: night against day, snow "
        "against summer, another camera.",
    ),
    Term(
        "Encoder",
        "Here the last part of a model, which improves the 14 region vectors before they become the descriptor.",
    ),
    Term(
        "GeM",
        "Generalised mean: an average with an exponent that is learned. Between the mean (exponent 1) and the "
        "maximum (very large exponent), it lets strong responses count more.",
        ("GeM pooling",),
    ),
    Term(
        "Ground truth",
        "What is known to be right: which database photos show the place of each query.",
    ),
    Term(
        "Grouping",
        "Which photos share a batch while they are described, for instance 16 in file order, or each alone. With "
        "cross-image models it is part of the result, so it is always recorded.",
    ),
    Term(
        "Map",
        "The features of a photo laid out on the grid of its patches, 16×16 positions (size T: 14×14) with C channels "
        "each.",
        ("feature map",),
    ),
    Term(
        "Multi-similarity loss",
        "The training goal that pulls descriptors of one place together and pushes those of other places apart, most "
        "of all where they are mixed up.",
    ),
    Term(
        "Patch",
        "A square of 14×14 pixels; a photo of 224×224 pixels has 16×16 of them, and each becomes a token. At size T it "
        "is 16×16 pixels, and a token stands for what a small network saw there.",
        ("patches",),
    ),
    Term(
        "PCA",
        "Principal component analysis: a way to shorten descriptors while losing little, fitted on other photos "
        "beforehand.",
    ),
    Term(
        "Place",
        "A spot with a view, known by its position. Two photos show the same place when they were taken close to "
        "each other, here within 25 m.",
    ),
    Term(
        "Positives",
        "The database photos that count as right answers for a query; usually those taken within 25 m of it.",
        ("positive",),
    ),
    Term(
        "ProCity",
        "The made-up city that comes with this project. A program draws its streets, weathers and seasons, so the "
        "position of every photo is known exactly.",
    ),
    Term(
        "Protocol",
        "Everything one must know to repeat a measurement: model, weights, size of the photos, grouping, radius, "
        "rounding.",
    ),
    Term(
        "Query",
        "The photo whose place is asked for.",
        ("queries",),
    ),
    Term(
        "Rank",
        "The number of a match in the list of answers: rank 1 is the most similar database photo.",
    ),
    Term(
        "Recall@K",
        "The share of queries with at least one right photo among their first K answers. Recall@1 asks that the very "
        "first be right.",
        ("Recall@1", "Recall@5", "Recall@10", "Recall@N", "recall"),
    ),
    Term(
        "Region",
        "One of the 14 boxes in which a map is pooled: the whole, 2×2 cells and 3×3 cells.",
        ("regions",),
    ),
    Term(
        "Self-enhanced encoder",
        "SciceVPR's encoder: it improves every region vector by itself, so that a descriptor depends on its own "
        "photo alone.",
        ("self-enhanced",),
    ),
    Term(
        "Stability",
        "That a photo gets the same descriptor, and so the same answer, whatever other photos are described with it.",
    ),
    Term(
        "Token",
        "The vector that stands for one patch (or, as the class token, for the whole photo) inside a transformer.",
        ("tokens",),
    ),
    Term(
        "Token mixer",
        "A small network that lets every position of a map take something from every other position.",
        ("token mixers",),
    ),
    Term(
        "Transformer",
        "A network of blocks in which a set of vectors read each other (attention) and then change each by itself "
        "(MLP).",
        ("vision transformer", "attention"),
    ),
    Term(
        "UTM",
        "Universal Transverse Mercator: positions in metres east and north within a numbered zone, so that distances "
        "are simple to compute.",
        ("easting", "northing"),
    ),
    Term(
        "Variant",
        "One model of a family in one size, such as SciceVPR-T: architecture, input size and weights belong together.",
    ),
    Term(
        "Visual place recognition",
        "Finding where a photo was taken by searching for the most similar photos with known positions.",
        ("VPR",),
    ),
    Term(
        "Weights",
        "The numbers that a model has learned. Without trained ones it still computes, but its answers mean nothing.",
    ),
)
"""In alphabetical order."""


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
