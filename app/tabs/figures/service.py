"""The Figures tab without any web framework: from what a visitor chose to the figure's data, and to files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.core.outgoing import ServerFile
from app.core.services import Services
from app.tabs.stability.service import Stability
from scicevpr.errors import UsageError
from scicevpr.evaluation.batch_effects import SIZES
from scicevpr.evaluation.results import read_results
from scicevpr.figures.paper import Drawing, FigureKind, Style, batches, draw, figure_kind, maps, retrieval, scores
from scicevpr.figures.paper.subjects import Described, subject_of

SCREEN_DPI = 150
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Choices:
    """What a figure shows. Fields that a figure does not need are ignored.

    database: display name, None for the first. roles: models by role, in order. photo, name: of the query. results:
    files of `scicevpr evaluate --json` (or of the Benchmarks tab).
    """

    figure: str
    database: str | None = None
    roles: tuple[str, ...] = ()
    photo: Any = None
    name: str = ""
    results: tuple[Path, ...] = ()
    top: int = 5
    batch_mates: int = 7
    pairs: int = 2
    sizes: tuple[int, ...] = SIZES
    orders: tuple[str, ...] = ("file", "shuffled", "place")
    seeds: int = 10
    n: int | None = None


@dataclass(frozen=True)
class Written:
    """A drawing on disk: its files by format, a PNG for the screen, and its caption."""

    kind: FigureKind
    files: tuple[ServerFile, ...]
    preview: bytes
    caption: str


class FigureStudio:
    """Figures over one Services and its Stability service."""

    def __init__(self, services: Services, stability: Stability) -> None:
        self.services = services
        self.stability = stability

    def roles(self) -> list[tuple[str, str]]:
        """Titles and roles of the models that can be drawn."""
        return [(state.title, state.role) for state in self.services.model_states()]

    def data(self, choices: Choices, progress: Progress | None = None) -> Iterator[tuple[str, Any]]:
        """The data of a figure: yields (label, None) while it is measured and ("", data) at the end. Raises
        SciceVPRError: with a message for the visitor."""
        kind = figure_kind(choices.figure)
        progress = self.stability.giving_way(progress)
        if kind.needs == "results":
            if not choices.results:
                raise UsageError(
                    "This figure is drawn from results. Choose the JSON file of the Benchmarks tab, or one that "
                    "“scicevpr evaluate --json results.json” wrote."
                )
            results = [result for path in choices.results for result in read_results(path)]
            yield "", scores.result_data(results, choices.n)
        elif kind.name == "figure-2":
            yield from self._curves(choices, progress)
        elif kind.name == "figure-1":
            yield "Describing every photo once, then searching for telling pairs.", None
            yield "", self._pairs(choices, progress)
        else:
            yield "", self._about_photo(choices, progress)

    def write(self, drawing: Drawing, choices: Choices) -> Written:
        """Write all files of a drawing into a new folder, which goes with a private database it was drawn from."""
        outgoing = self.services.outgoing
        folder = outgoing.folder(str(choices.database or ""))
        files = tuple(outgoing.file(drawing.write(folder / f"{drawing.kind.name}.{form}")) for form in drawing.formats)
        return Written(drawing.kind, files, drawing.render("png", SCREEN_DPI), drawing.caption)

    def draw(self, choices: Choices, style: Style, progress: Progress | None = None) -> Drawing:
        """The whole way for a program: measure, then draw."""
        draw(choices.figure, None, style)  # a wrong panel is said before the work
        *_, (_, data) = self.data(choices, progress)
        return draw(choices.figure, data, style)

    # ---- the figures ------------------------------------------------------------------------------------------------

    def _curves(self, choices: Choices, progress: Progress | None) -> Iterator[tuple[str, Any]]:
        roles = self._inside_roles(choices)
        sizes = tuple(sorted(set(choices.sizes)))
        if not sizes or not choices.orders:
            raise UsageError("Choose at least one batch size and one order.")
        key, _ = self.services.dataset(choices.database)
        yield "Describing every photo once.", None
        table, total = None, self.stability.settings(sizes, choices.orders, choices.seeds, roles)
        for table in self.stability.curve(key, sizes, choices.orders, choices.seeds, roles, progress):
            yield f"{len(table)} of {total} settings measured.", None
        setups = [(setup.title, setup) for setup in (self.stability.setup(role, key) for role in roles)]
        yield "", batches.curve_data(setups, table)

    def _pairs(self, choices: Choices, progress: Progress | None) -> Any:
        key, _ = self.services.dataset(choices.database)
        models = {role: self.services.model(role) for role in self._inside_roles(choices)}
        setups = [
            self.stability.setup(role, key, progress, model.variant.cross_image) for role, model in models.items()
        ]
        return retrieval.pair_data([(setup.title, setup) for setup in setups], choices.pairs)

    def _about_photo(self, choices: Choices, progress: Progress | None) -> Any:
        if choices.photo is None:
            raise UsageError("There is no photo yet. Pick an example, or upload one.")
        key, dataset = self.services.dataset(choices.database)
        subject = subject_of(dataset, choices.photo, choices.name)
        name = choices.figure
        if name == "strip":
            described = [self._described(role, key, progress) for role in self._roles(choices)]
            return retrieval.strip_data(subject, dataset, described, choices.top)
        roles = self._inside_roles(choices)
        models = [(model.variant.title, model) for model in map(self.services.model, roles)]
        if name == "fusion":
            return maps.fusion_data(subject, *self._first(models, lambda variant: not variant.class_token))
        if name == "attention":
            chosen = self._first(models, lambda variant: variant.cross_image)
            return batches.attention_data(subject, dataset, *chosen, choices.batch_mates)
        row = self._described(roles[0], key, progress).first_match(subject.image)
        return maps.region_data(subject, dataset.database[row], models, dataset)

    def _described(self, role: str, key: str, progress: Progress | None) -> Described:
        model = self.services.model(role)
        title = model.variant.title
        step = None if progress is None else lambda done, total: progress(f"{title}: database", done, total)
        found = self.services.described(role, key, step)
        return Described(title, model, found.descriptors, found.index)

    def _roles(self, choices: Choices) -> Sequence[str]:
        """The chosen models, in the page's order. UsageError for none, or one that is not there."""
        unknown = [role for role in choices.roles if role not in self.services.roles]
        if unknown or not choices.roles:
            raise UsageError("Choose at least one model." if not unknown else f"There is no model {unknown[0]!r} here.")
        return [role for role in self.services.roles if role in choices.roles]

    def _inside_roles(self, choices: Choices) -> list[str]:
        """The chosen models whose inside is known; at least one."""
        roles = [role for role in self._roles(choices) if role in self.stability.roles]
        if not roles:
            raise UsageError(
                "Of a model of others only the descriptors are known, so this figure cannot show it. Choose another."
            )
        return roles

    @staticmethod
    def _first(models: Sequence[tuple[str, Any]], fits: Callable[[Any], bool]) -> tuple[str, Any]:
        """The first model that this figure can show, else the first, about which the figure says what is wrong."""
        return next((entry for entry in models if fits(entry[1].variant)), models[0])
