"""Start-up: from the command line and the environment to running services and a served page."""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import logging
import os
import sys
import webbrowser
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from app.build import build_app, launch_options
from app.core.descriptor_store import DescriptorStore
from app.core.model_slots import BASELINE, FULL_PRECISION, PRECISIONS, ROLES, STABLE, TEACHER, THIRD
from app.core.services import Services
from app.gate import VARIABLE
from app.page import StudioPage, asked_to_share, is_loopback
from app.real_photos import chosen_sets, get_sets, is_key
from app.tabs.models_and_data.service import Sources
from app.tabs.my_places.service import MyPlaces
from scicevpr.config import assets_folder, user_cache_folder
from scicevpr.datasets import Dataset, bundled_city, read_dataset
from scicevpr.errors import SciceVPRError
from scicevpr.external_models.loading import load_any
from scicevpr.external_models.registry import is_external

logger = logging.getLogger(__name__)

CITY_NAME = "ProCity test city"
M_ARENA_MAX = -8  # of malloc.h
STARTS = 5
CHATTY = ("httpx", "faiss.loader", "fontTools", "mcp", "matplotlib", "asyncio")
"""Packages whose notes are none of a visitor's business."""
MCP_ADVICE = "pip install 'gradio[mcp]'."
MODELS = {STABLE: "scicevpr-t", BASELINE: "cricavpr-t", TEACHER: "super-cricavpr-t"}


def read_arguments(arguments: Sequence[str] | None = None, program: str = "python app.py") -> argparse.Namespace:
    """The command line of app.py."""
    parser = argparse.ArgumentParser(prog=program, description="Serve SciceVPR Studio.")
    parser.add_argument(
        "--dataset",
        action="append",
        default=[],
        metavar="FOLDER_OR_NAME",
        help="a data set folder to offer beside the bundled city, or a name of `scicevpr datasets get`, such as "
        "gardens-point: it is got, and the page opens on it; repeat for more (also: SCICEVPR_DATASETS, separated by "
        f"{os.pathsep!r})",
    )
    parser.add_argument(
        "--accept-licence", action="store_true", help="you have read and accept the licences of sets named by --dataset"
    )
    parser.add_argument(
        "--weights",
        action="append",
        default=[],
        metavar="SOURCE",
        help="weights for the column of their kind: cricavpr-… the baseline, super-cricavpr-… the teacher, models of "
        "others the third, all else the first; repeat for more",
    )
    parser.add_argument("--split", default="test", help="split of those data sets (default: test)")
    parser.add_argument("--host", default=None, help="address to listen on (default: 127.0.0.1, on a Space all)")
    parser.add_argument("--port", type=int, default=None, help="port (default: the first free one from 7860)")
    parser.add_argument(
        "--device", default="auto", help="where models run: cpu, cuda, mps; auto, the default: a GPU if there is one"
    )
    parser.add_argument(
        "--allow-untrained",
        action="store_true",
        help="use random weights where trained ones are missing, to look at the page (answers mean nothing)",
    )
    for role, words in ROLES.items():
        parser.add_argument(
            f"--{role}",
            dest=role,
            metavar="SOURCE",
            help=f"weights for {words}: a variant, path, URL, Hub repository or a model of others",
        )
    parser.add_argument("--pack", action="append", default=[], metavar="PACK", help="a database pack to offer as well")
    parser.add_argument(
        "--trust-remote-code",
        action="append",
        default=[],
        metavar="SOURCE",
        help="let this model of others run its code: megaloc, hub:OWNER/REPO:ENTRY, or, for the columns named here "
        "only, hub:/FOLDER:ENTRY and python:MODULE:FUNCTION; repeat for more",
    )
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name, beside those of this machine, under which the page may be asked; repeat for more (also: "
        f"{VARIABLE}, separated by commas)",
    )
    parser.add_argument(
        "--share", action="store_true", help="also serve the page under a public address of gradio's; it is locked then"
    )
    parser.add_argument(
        "--lock",
        action="store_true",
        help="nobody may load other weights or packs in the page (always so where others can reach it)",
    )
    parser.add_argument(
        "--my-folder",
        action="store_true",
        help="My places, and packs that come without photos, may read a folder of this machine (refused where others "
        "can reach the page)",
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default=FULL_PRECISION,
        help="what Find describes in; auto: the fastest whose Recall@1 was measured to be unchanged (default: "
        "float32, as the other tabs, so that all show the same digits)",
    )
    parser.add_argument("--no-cache", action="store_true", help="keep no descriptors between runs")
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser where there is one")
    options = parser.parse_args(arguments)
    for source in options.weights:
        role = column_of(source)
        if getattr(options, role):
            parser.error(f"two sources for the column {role}: {getattr(options, role)} and {source}")
        setattr(options, role, source)
    return options


def column_of(source: str) -> str:
    """The column that weights belong to, by the name of their model where it says one."""
    name = source.lower()
    if is_external(source):
        return THIRD
    return TEACHER if name.startswith("super-cricavpr") else BASELINE if name.startswith("cricavpr") else STABLE


def open_datasets(folders: Sequence[str], split: str) -> tuple[dict[str, Dataset], list[str]]:
    """The bundled city and the given folders by display name, and a sentence for each one that could not be read."""
    found: dict[str, Dataset] = {}
    problems = []
    try:
        found[CITY_NAME] = bundled_city()
    except SciceVPRError as error:
        problems.append(str(error))
    for folder in folders:
        try:
            dataset = read_dataset(Path(folder).expanduser(), split)
        except SciceVPRError as error:
            problems.append(str(error))
            continue
        name = dataset.name if dataset.name not in found else f"{dataset.name} ({dataset.root})"
        found[name] = dataset
    return found, problems


def example_names() -> list[str]:
    """File names of the bundled example queries (assets/examples.json: a list, or an object with a list)."""
    for path in (assets_folder() / "examples.json", assets_folder() / "examples" / "examples.json"):
        if path.is_file():
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
            except ValueError:
                logger.warning("%s is not JSON; examples are picked instead", path)
                return []
            entries = (
                next((v for v in content.values() if isinstance(v, list)), []) if isinstance(content, dict) else content
            )
            return [Path(entry["name"] if isinstance(entry, dict) else entry).name for entry in entries]
    return []


def make_services(options: argparse.Namespace) -> Services:
    """Services over the bundled city, the given data sets and the bundled weights."""
    named = [folder for folder in os.environ.get("SCICEVPR_DATASETS", "").split(os.pathsep) if folder]
    asked = [*options.dataset, *named]
    datasets, problems = open_datasets([name for name in asked if not is_key(name)], options.split)
    real, missing = get_sets(chosen_sets(asked, options.accept_licence))
    datasets, problems = {**real, **datasets}, [*problems, *missing]
    untrained = options.allow_untrained or os.environ.get("SCICEVPR_ALLOW_UNTRAINED") == "1"
    store = DescriptorStore(assets_folder() / "descriptors", None if options.no_cache else user_cache_folder())
    load = partial(load_any, device=options.device, allow_untrained=untrained)
    models = {role: (name, partial(load, name)) for role, name in MODELS.items()}
    for role in ROLES:
        if source := getattr(options, role):
            models[role] = (source, partial(load, source, download=True, trust=source in options.trust_remote_code))
    return Services(datasets, models, store, {CITY_NAME: example_names()}, problems, options.precision)


def make_sources(options: argparse.Namespace, services: Services) -> Sources:
    """What the page may load, with the command line's packs opened; one that cannot be opened becomes a note."""
    load = partial(load_any, device=options.device, download=True)
    sources = Sources(services, load, trusted=options.trust_remote_code, may_read_folders=options.my_folder)
    for pack in options.pack:
        try:
            sources.open_pack(pack)
        except SciceVPRError as error:
            services.notes = (*services.notes, str(error))
    sources.locked = options.lock or served_to_others(options)
    return sources


def served_address(options: argparse.Namespace) -> str | None:
    """The address that the page is served at: the option, on a Space all, gradio's variable; None is 127.0.0.1."""
    if options.host:
        return options.host
    return "0.0.0.0" if "SPACE_ID" in os.environ else os.environ.get("GRADIO_SERVER_NAME") or None


def served_to_others(options: argparse.Namespace) -> bool:
    """Whether others than this machine can reach the page."""
    return options.share or asked_to_share() or "SPACE_ID" in os.environ or not is_loopback(served_address(options))


def share_memory_arenas() -> None:
    """Let all threads share two of glibc's memory arenas: with one each, what they free is kept many times over."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").mallopt(M_ARENA_MAX, 2)


def mcp_is_here() -> bool:
    """Whether the named endpoints can be tools for language models (launch(mcp_server=True)); the log says why not."""
    if find_spec("mcp") is not None:
        return True
    logger.info("The page runs without MCP tools: the package mcp is not installed. To have them: %s", MCP_ADVICE)
    return False


def main(arguments: Sequence[str] | None = None, program: str = "python app.py") -> None:
    """Build and serve the page; models warm up once it answers."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    for chatty in CHATTY:
        logging.getLogger(chatty).setLevel(logging.WARNING)
    options = read_arguments(arguments, program)
    share_memory_arenas()
    services = make_services(options)
    sources = make_sources(options, services)
    mine = MyPlaces(services, may_read_folders=options.my_folder and not sources.locked)
    page = build_app(services, sources, mine)
    page.rules.allow(*options.allow_host)
    serve(page, services, options)
    announce(page, options)
    page.block_thread()


def serve(page: StudioPage, services: Services, options: argparse.Namespace) -> None:
    """Serve the page, however slow the machine is, and let the models warm up once it answers.

    Raises OSError when no port is free.
    """
    for attempt in range(STARTS):
        try:
            page.launch(
                server_name=served_address(options),
                server_port=options.port,
                share=options.share or asked_to_share(),
                mcp_server=mcp_is_here(),
                prevent_thread_lock=True,
                quiet=True,
                **launch_options(services),
            )
            break
        except OSError:  # gradio gives its server 5 seconds a port; the machine may only be slow
            if attempt + 1 == STARTS:
                raise
            logger.warning("the page could not be served yet; trying again")
    services.warm_up()


def announce(page: StudioPage, options: argparse.Namespace) -> None:
    """Say where the page is, and open it in a browser where this machine has one."""
    address = page.share_url or page.local_url
    sys.stdout.write(f"SciceVPR Studio: {address} (Ctrl+C ends it)\n")
    sys.stdout.flush()
    if not options.no_browser and not served_to_others(options) and has_browser():
        webbrowser.open(address)


def has_browser() -> bool:
    """Whether somebody sits in front of this machine with a browser that has windows."""
    if not sys.stdout.isatty():
        return False
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    try:
        webbrowser.get()
    except webbrowser.Error:
        return False
    return True
