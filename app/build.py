"""The whole page: header, notices, tabs, how they are wired to each other, and how it is served."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import gradio as gr
from starlette.routing import Route

from app.core.limits import QUEUE, SESSIONS, UPLOAD_BYTES
from app.core.query_resolution import MOST_BATCH_MATES
from app.core.services import Services
from app.core.values import whole_number
from app.page import StudioPage
from app.tabs.benchmarks import layout as benchmarks
from app.tabs.benchmarks.service import Benchmarks
from app.tabs.figures import layout as figures
from app.tabs.figures.service import FigureStudio
from app.tabs.find import layout as find
from app.tabs.how_it_works import layout as how_it_works
from app.tabs.inside import layout as inside
from app.tabs.models_and_data import layout as models_and_data
from app.tabs.models_and_data.service import Sources
from app.tabs.my_places import layout as my_places
from app.tabs.my_places.service import MyPlaces
from app.tabs.stability import layout as stability
from app.tabs.stability.service import Stability
from app.tabs.training import layout as training
from app.tabs.training.service import Distillations
from app.ui import links
from app.ui.events import MODEL, QUICK, QUIET, Handlers, toasts
from app.ui.header import TRAINING_ROUTE, header_html, training_page
from app.ui.html import forget_thumbnails
from app.ui.photo_picker import nearest_batch
from app.ui.theme import FAVICON, STYLES, page_head, theme
from app.ui.tour import tour_html
from scicevpr.external_models.loading import load_any

LINKED = tuple(tab.LINK for tab in (find, inside, stability, benchmarks, figures))
"""Tabs whose choices an address keeps."""
RESULTS_FIGURE = "recall"
OPEN_INSIDE = (Path(find.__file__).parent / "open_inside.js").read_text(encoding="utf-8")


def build_app(services: Services, sources: Sources | None = None, mine: MyPlaces | None = None) -> StudioPage:
    """Build the page over the given services. The only place that knows all tabs: one is one line here.

    sources: what the Models & data tab may load; without it everything stays as it is (locked). mine: visitors' own
    places.
    """
    sources = sources or Sources(services, load_any, locked=True)
    mine = mine or MyPlaces(services)
    services.datasets.when_forgotten(forget_thumbnails)
    experiments = Stability(services)

    def shared() -> None:
        sources.locked = True
        services.pace.share()
        mine.may_read_folders = False

    options = {"title": "SciceVPR Studio", "analytics_enabled": False}
    with StudioPage(services.datasets, shared, **options) as page:
        gr.HTML(header_html(), elem_id="masthead")
        gr.HTML(tour_html(), elem_id="tour")
        notice = gr.HTML(Handlers(services).notice(), elem_id="notice")
        with gr.Tabs(elem_id="tabs") as tabs:
            found = _tab(find, services, notice)
            looked = _tab(inside, services, notice)
            tried = _tab(stability, experiments, notice)
            measured = _tab(benchmarks, Benchmarks(services))
            drawn = _tab(figures, FigureStudio(services, experiments))
            places = _tab(my_places, mine, page)
            taught = _tab(training, Distillations(services))
            changes = _tab(models_and_data, sources)
            _tab(how_it_works, services)
        chosen = taught.tried.success(
            lambda key: (key, gr.Tabs(selected=find.ID)), taught.key, [found.student, tabs], **QUICK
        )
        for event in (*changes.models_changed, chosen):
            event.success(found.handlers.current_view, found.form, found.parts, **QUIET, **MODEL)
        _offer_databases(found, (looked.database, tried.database, drawn.database), places, changes)
        _explain_matches(found, looked)
        _open_queries(tabs, measured, found, looked)
        _follow_benchmarks(tabs, measured, drawn, places)
        links.attach(page, services, LINKED, found)
        quiet = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}
        page.load(found.handlers.watch_warm_up, None, notice, **quiet)
    page.queue(max_size=QUEUE)
    page.keep_up(mine.end_old, mine.folders)
    return page


def _tab(layout: ModuleType, *needs: Any) -> Any:
    """Lay out a tab; gives what it has for the others."""
    with gr.Tab(layout.TITLE, id=layout.ID, elem_id=f"tab-{layout.ID}") as tab:
        return layout.build(tab, *needs)


def _offer_databases(
    found: find.FindParts,
    others: tuple[gr.Dropdown, ...],
    places: my_places.MyPlacesParts,
    changes: models_and_data.SourceParts,
) -> None:
    """Other databases are there: they are offered in all tabs, and the new one is chosen in Find."""
    databases, mine = places.handlers.services.datasets, places.handlers.mine

    def offer(token: Any, key: str | None, values: tuple) -> tuple:
        choices = places.handlers.choices(token)
        kept = [value if isinstance(value, str) and databases.is_here(value) else key for value in values]
        updates = [gr.Dropdown(choices=choices, value=value, visible=len(choices) > 1) for value in kept]
        return gr.Dropdown(choices=choices, value=key), *updates, *found.handlers.other_database(key)

    @toasts
    def own_places(token: Any, *values: Any) -> tuple:
        database = mine.database(token)
        return offer(token, next(iter(databases), None) if database is None else database.key, values)

    @toasts
    def opened_pack(token: Any, name: Any, *values: Any) -> tuple:
        return offer(token, places.handlers.services.dataset(name)[0], values)

    outputs = [found.database, *others, found.photo, found.examples, *found.parts]
    for event in places.changed:
        event.success(own_places, [places.token, *others], outputs, **QUICK)
    for event in changes.database_opened:
        event.success(opened_pack, [places.token, changes.opened, *others], outputs, queue=False, **QUIET)


def _explain_matches(found: find.FindParts, looked: inside.InsideParts) -> None:
    """What the button "Why this match?" does: it opens Inside with the same photo, database, model, rank and batch; in
    the browser, where the photo is."""
    wanted = [looked.photo, looked.database, looked.role, looked.rank, looked.batch_mates]
    for column in found.matches:
        column.select(
            None, [found.photo, found.database, found.batch_mates], wanted, js=OPEN_INSIDE, api_visibility="private"
        )


def _open_queries(
    tabs: gr.Tabs, measured: benchmarks.BenchmarkParts, found: find.FindParts, looked: inside.InsideParts
) -> None:
    """A query of the Benchmarks tab opens in Find, or in Inside with the model in question, its first answer and about
    the batch in which it was measured."""
    roles = [role for _, role in looked.role.choices]

    @toasts
    def opened(row: Any, database: Any, tab: Any, role: Any, others: Any) -> tuple:
        key, file = measured.handlers.opened(row, database)
        if tab != "inside":
            return gr.Tabs(selected="find"), key, file, *[gr.skip()] * 5
        batch = nearest_batch(whole_number(others, "The batch", 0, MOST_BATCH_MATES))
        model = role if role in roles else gr.skip()
        return gr.Tabs(selected="inside"), gr.skip(), gr.skip(), model, 1, batch, key, file

    shown = [
        tabs, found.database, found.photo, looked.role, looked.rank, looked.batch_mates, looked.database, looked.photo,
    ]  # fmt: skip
    measured.opened.success(opened, measured.wanted, shown, queue=False, **QUIET)


def _follow_benchmarks(
    tabs: gr.Tabs, measured: benchmarks.BenchmarkParts, drawn: figures.FigureParts, places: my_places.MyPlacesParts
) -> None:
    """Benchmarks offers this visitor's own places too; its results are drawn in Figures."""

    @toasts
    def refresh(token: Any, *chosen: Any) -> tuple:
        return measured.handlers.refresh(places.handlers.choices(token), *chosen)

    @toasts
    def to_figures(keys: Any) -> tuple:
        return [measured.handlers.file_of(keys)], RESULTS_FIGURE, gr.Tabs(selected="figures")

    measured.tab.select(refresh, [places.token, *measured.choices], measured.choices, queue=False, **QUIET)
    measured.to_figures(to_figures, measured.keys, [drawn.results, drawn.figure, tabs], queue=False, **QUIET)


def launch_options(services: Services) -> dict[str, Any]:
    """What launch() needs besides address and port: looks, limits, and where the training package can be read.

    services: of the page, which serves no folder of theirs: photos leave as copies (see `app.core.outgoing`).
    """
    return {
        "theme": theme(),
        "css_paths": STYLES,
        "head": page_head(),
        "favicon_path": FAVICON,
        "max_file_size": UPLOAD_BYTES,
        "app_kwargs": {"routes": [Route(f"/{TRAINING_ROUTE}", training_page)]},
        "state_session_capacity": SESSIONS,
        "footer_links": ["api", "settings"],
        "show_error": False,  # gradio's own words hold paths of this machine; ours are errors that are always shown
    }
