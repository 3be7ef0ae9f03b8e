"""The whole page: header, notices, tabs, and how it is served."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
from starlette.routing import Route

from app import links
from app.bench import Bench
from app.components.header import TRAINING_ROUTE, header_html, training_page
from app.components.tour import tour_html
from app.figure_studio import FigureStudio
from app.handlers import FindHandlers, toasts
from app.lab import Laboratory
from app.limits import QUEUE, SESSIONS, UPLOAD_BYTES
from app.my_places import MyPlaces
from app.page import StudioPage
from app.regions import RegionStore
from app.services import Services
from app.sources import Sources
from app.tabs import benchmarks, figures, find, inside, learn, stability
from app.tabs import endpoints as named_endpoints
from app.tabs import my_places as tab_places
from app.tabs import sources as tab_sources
from app.tabs import training as tab_training
from app.training_room import TrainingRoom
from scicevpr.external_models import load_any

STATIC = Path(__file__).resolve().parent / "static"
SCRIPTS = ("lightbox.js", "stepper.js", "links.js", "tour.js")
RESULTS_FIGURE = "recall"
SYSTEM_FONTS = ("ui-sans-serif", "system-ui", "sans-serif")


def build_app(services: Services, sources: Sources | None = None, mine: MyPlaces | None = None) -> StudioPage:
    """Build the page over the given services. The only place that knows all tabs.

    sources: what the Models & data tab may load; without it everything stays as it is (locked). mine: visitors' own
    places.
    """
    sources = sources or Sources(services, load_any, locked=True)
    mine = mine or MyPlaces(services)

    def shared() -> None:
        sources.lock()
        services.pace.share()
        mine.may_read_folders = False

    handlers, laboratory = FindHandlers(services), Laboratory(services, RegionStore(services.cache))
    options = {"title": "SciceVPR Studio", "analytics_enabled": False, "elem_id": "studio"}
    with StudioPage(services.datasets, shared, **options) as page:
        gr.HTML(header_html(), elem_id="masthead")
        gr.HTML(tour_html(), elem_id="tour")
        notice = gr.HTML(handlers.notice(), elem_id="notice")
        with gr.Tabs(elem_id="tabs") as tabs:
            with gr.Tab("Find", id="find", elem_id="tab-find"):
                found = find.build(services, notice)
            with gr.Tab("Inside", id="inside", elem_id="tab-inside") as inside_tab:
                looked = inside.build(services, notice)
            with gr.Tab("Stability", id="stability", elem_id="tab-stability") as lab_tab:
                tried = stability.build(services, laboratory, notice)
            with gr.Tab("Benchmarks", id="benchmarks", elem_id="tab-benchmarks") as bench_tab:
                measured = benchmarks.build(Bench(services))
            with gr.Tab("Figures", id="figures", elem_id="tab-figures") as figure_tab:
                drawn = figures.build(FigureStudio(services, laboratory))
            with gr.Tab("My places", id="places", elem_id="tab-places"):
                places = tab_places.build(mine, page)
            with gr.Tab("Training", id="training", elem_id="tab-training"):
                taught = tab_training.build(TrainingRoom(services, sources))
            with gr.Tab("Models & data", id="sources", elem_id="tab-sources") as source_tab:
                changes = tab_sources.build(sources)
            with gr.Tab("How it works", id="learn", elem_id="tab-learn") as learn_tab:
                learn.build(services, learn_tab)
        figure_tab.select(drawn.refresh, drawn.models, drawn.models, queue=False, **find.QUIET)
        others = (looked.database, tried.database, drawn.database)
        _after_changes(page, services, source_tab, changes, found, others, places)
        tab_places.connect(places, page, found, others)
        taught.tried.success(handlers.current_view, found.form, found.parts, **find.QUIET, **find.MODEL)
        bench_tab.select(
            toasts(lambda token, *chosen: measured.handlers.refresh(places.handlers.choices(token), *chosen)),
            [places.token, *measured.choices],
            measured.choices,
            queue=False,
            **find.QUIET,
        )
        measured.to_figures(
            toasts(lambda keys: ([measured.handlers.file_of(keys)], RESULTS_FIGURE, gr.Tabs(selected="figures"))),
            measured.keys,
            [drawn.results, drawn.figure, tabs],
            queue=False,
            **find.QUIET,
        )
        _open_cases(services, measured, tabs, found, looked)
        named_endpoints.build(laboratory, measured.handlers.bench)
        links.attach(page, services, found)
        for tab, parts in ((inside_tab, looked), (lab_tab, tried), (figure_tab, drawn)):
            # the photo of the Find tab is taken over where none was chosen here; in the browser, so that it cannot come
            # late and undo a choice
            tab.select(
                None,
                [parts.photo, found.photo],
                parts.photo,
                js="(here, there) => here ?? there",
                api_visibility="private",
            )
        page.load(
            handlers.watch_warm_up,
            None,
            notice,
            show_progress="hidden",
            api_visibility="private",
            concurrency_limit=None,
        )
    page.queue(max_size=QUEUE)
    page.keep_up(mine.end_old, mine.folders)
    return page


def _open_cases(
    services: Services,
    measured: benchmarks.BenchmarkParts,
    tabs: gr.Tabs,
    found: find.FindParts,
    looked: inside.InsideParts,
) -> None:
    """A query of the Benchmarks tab opens in Find or Inside."""
    finder = FindHandlers(services)

    def opened(row: Any, database: Any, tab: Any) -> tuple:
        stay, examples = (gr.skip(), gr.skip()), gr.skip()
        key, file = measured.handlers.opened(row, database)
        if tab != "inside":
            examples = gr.Gallery(value=finder.example_items(key), selected_index=None)
            return gr.Tabs(selected="find"), examples, key, file, *stay
        return gr.Tabs(selected="inside"), examples, *stay, key, file

    measured.opened.success(
        toasts(opened),
        [measured.row, measured.database, measured.tab],
        [tabs, found.examples, found.database, found.photo, looked.database, looked.photo],
        queue=False,
        **find.QUIET,
    )


def _after_changes(
    page: gr.Blocks,
    services: Services,
    tab: gr.Tab,
    changes: tab_sources.SourceParts,
    found: find.FindParts,
    other_databases: tuple[gr.Dropdown, ...],
    places: tab_places.MyPlacesParts,
) -> None:
    """Carry new models and databases into the other tabs."""
    finder = FindHandlers(services)

    def offer(name: Any, token: Any) -> tuple:
        name, _ = services.dataset(name)
        names = places.handlers.choices(token)
        others = [gr.Dropdown(choices=names, visible=len(names) > 1)] * len(other_databases)
        return gr.Dropdown(choices=names, value=name), *others, *finder.other_database(name)

    for event in changes.models_changed:
        event.success(finder.current_view, found.form, found.parts, **find.QUIET, **find.MODEL)
    changes.pack_opened.success(
        toasts(offer),
        [changes.opened, places.token],
        [found.database, *other_databases, found.photo, found.examples, *found.parts],
        queue=False,
        **find.QUIET,
    )
    tab.select(changes.refresh, None, changes.tables, queue=False, **find.QUIET)


def launch_options(services: Services) -> dict[str, Any]:
    """What launch() needs besides address and port: looks, limits, and where the training package can be read.

    services: of the page, which serves no folder of theirs: photos leave as copies (see `app.outgoing`).
    """
    return {
        "theme": theme(),
        "css_paths": [STATIC / "style.css"],
        "head": "".join(f"<script>{(STATIC / name).read_text(encoding='utf-8')}</script>" for name in SCRIPTS),
        "favicon_path": STATIC / "logo.svg",
        "max_file_size": UPLOAD_BYTES,
        "app_kwargs": {"routes": [Route(f"/{TRAINING_ROUTE}", training_page)]},
        "state_session_capacity": SESSIONS,
        "footer_links": ["api", "settings"],
        "show_error": False,  # gradio's own words hold paths of this machine; ours are errors that are always shown
    }


def theme() -> gr.themes.Base:
    """The looks: blue for the visitor's own photo (orange is kept for "one batch"), fonts shipped with gradio.

    Of Source Sans Pro gradio ships regular and bold whole; its semi-bold file holds a few letters only.
    """
    return gr.themes.Default(
        primary_hue=gr.themes.colors.blue,
        secondary_hue=gr.themes.colors.slate,
        neutral_hue=gr.themes.colors.slate,
        radius_size=gr.themes.sizes.radius_lg,
        font=[gr.themes.LocalFont("Source Sans Pro", weights=(400, 700)), *SYSTEM_FONTS],
        font_mono=[gr.themes.LocalFont("IBM Plex Mono", weights=(400,)), "ui-monospace", "Consolas", "monospace"],
    )
