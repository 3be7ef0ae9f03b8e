"""Deep links: the page's address says which tab is open and what is chosen there, and opens it again.

Only names stand in an address: of a tab, a public database, a photo of its query list, a model, a choice. A visitor's
own photos and places never do, and no address can open them.
"""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import gradio as gr

from app.core.databases import PRIVATE
from app.core.incoming import photo_name
from app.core.outgoing import ServerFile
from app.core.query_resolution import listed_photo, query_photo
from app.core.services import Services
from app.core.values import joined, plain_text, real_number, row_list, whole_number
from app.ui.events import QUICK, QUIET, toasts
from scicevpr.errors import SciceVPRError, UsageError

LONGEST_ADDRESS = 8_000
LONGEST_CHOICE = 60
DATABASE, QUERY, TAB = "database", "query", "tab"
OWN = "own photo"
OWN_MISSING = (
    "This link was made with somebody's own photo, which links never carry. Everything else is chosen: bring the photo."
)


@dataclass(frozen=True)
class LinkedTab:
    """What of a tab an address keeps, all by elem_id.

    choices: the word in the address for each component. database, photo, examples: of a tab with a query; photo may be
    missing. batch_mates: the hidden list of a batch's rows in the query list, where the tab has one; batch_of: the
    hidden name of the photo that it is for; redrawn: the component that changes whenever the list does.
    """

    tab: str
    choices: dict[str, str] = field(default_factory=dict)
    database: str = ""
    photo: str = ""
    examples: str = ""
    batch_mates: str = ""
    batch_of: str = ""
    redrawn: str = ""


class Links:
    """Between addresses and the page. services: which databases, queries and models there are. tabs: the names of all
    tabs. fields: components by tab and word."""

    def __init__(self, services: Services, tabs: Sequence[str], fields: dict[str, dict[str, Any]]) -> None:
        self.services = services
        self.tabs = tuple(tabs)
        self.fields = fields

    @toasts
    def name_of(self, photo: Any, database: Any) -> str:
        """The photo's name in an address: of a query of a public database; for a visitor's own photo only that it was
        one, so that whoever opens the link is told what is missing."""
        if not photo or not isinstance(database, str) or database not in self.services.datasets:
            return ""
        name = photo_name(photo)
        _, row = query_photo(self.services.datasets[database], name)
        return OWN if row is None else name

    def read(self, address: str) -> tuple[str | None, dict[str, Any], list[str]]:
        """An address's query string as (tab or None, values by word, sentences about what is unknown).

        Values are what the components hold; "query" is the photo's file. Unknown words are other people's (gradio and
        the Hub have some) and are left alone.
        """
        text = plain_text(address, "The address", LONGEST_ADDRESS).removeprefix("?")
        try:
            words = parse_qs(text, keep_blank_values=False, max_num_fields=200)
        except ValueError as error:
            raise UsageError("This link holds more choices than any of this page. Copy it again.") from error
        problems: list[str] = []
        if TAB not in words:
            return None, {}, problems
        tab = words[TAB][-1]
        if tab not in self.tabs:
            return None, {}, [f"There is no tab {tab!r} in this page. The tabs are: {', '.join(self.tabs)}."]
        values: dict[str, Any] = {}
        for word, component in self.fields.get(tab, {}).items():
            if word in words:
                try:
                    values[word] = self._value(word, component, words, values)
                except SciceVPRError as error:
                    problems.append(str(error))
        if DATABASE in words and DATABASE not in values:  # what follows belonged to a database that is not here
            return tab, {}, problems[:1]
        return tab, values, problems

    def _value(self, word: str, component: Any, words: dict[str, list[str]], values: dict[str, Any]) -> Any:
        texts = words[word]
        if word == DATABASE:
            return self._databases(texts) if isinstance(component, gr.CheckboxGroup) else self._databases(texts[-1:])[0]
        if word == QUERY:
            return self._query(texts[-1], values.get(DATABASE))
        if isinstance(component, gr.CheckboxGroup):
            return [_chosen(text, word, self._offered(word, component)) for text in texts]
        if isinstance(component, gr.Dropdown) and not component.choices:  # what is on offer depends on the photo
            return plain_text(texts[-1], word, LONGEST_CHOICE)
        if isinstance(component, (gr.Radio, gr.Dropdown)):
            return _chosen(texts[-1], word, self._offered(word, component))
        if isinstance(component, gr.Slider):
            return _number(texts[-1], word, component.minimum, component.maximum, component.step)
        if isinstance(component, gr.Number):
            return whole_number(texts[-1], f"{word} in this link", 0, 10**6)
        return joined(row_list(texts[-1]))

    def _databases(self, names: Sequence[str]) -> list[str]:
        for name in names:
            if name not in self.services.datasets:  # private ones are not "in", so no address opens them
                raise UsageError(
                    "The database of this link is not here: it was not loaded on this server, or it was somebody's own."
                )
        return list(names)

    def _query(self, name: str, database: str | None) -> ServerFile:
        if name == OWN:
            raise UsageError(OWN_MISSING)
        key, dataset = self.services.dataset(database)
        return self.services.outgoing.photo(key, listed_photo(dataset, key, name))

    def _offered(self, word: str, component: Any) -> list[Any]:
        loaded = self.services.roles if word == "model" and isinstance(component, gr.CheckboxGroup) else ()
        return [*(value for _, value in component.choices), *loaded]


def _chosen(text: str, word: str, offered: Sequence[Any]) -> Any:
    for value in offered:
        if str(value) == text:
            return value
    raise UsageError(f"{text!r} is not on offer here as {word}.")


def _number(text: str, word: str, low: float, high: float, step: float) -> float | int:
    value = real_number(text, f"{word} in this link", low, high)
    if (value - low) % step:
        raise UsageError(f"{word} in this link must be from {low:g} to {high:g}, not {text!r}.")
    return int(value) if value == int(value) else value


def attach(page: gr.Blocks, services: Services, linked: Sequence[LinkedTab], found: Any) -> Links:
    """Keep the page's address up to date, and open what it says when the page is loaded.

    Call it once, inside the page, when all tabs are built; the page needs links.js in its head. linked: tabs whose
    choices an address keeps; of the others it keeps the name alone. found: the parts of the Find tab, which shows a
    database even without a photo.
    """
    by_id: dict[str, Any] = {
        str(block.elem_id): block for block in page.blocks.values() if getattr(block, "elem_id", None)
    }
    tabs = {block.id: block for block in by_id["tabs"].children if isinstance(block, gr.Tab)}
    linked = [entry for entry in linked if entry.tab in tabs]
    names = {entry.tab: gr.Textbox("", visible=False) for entry in linked if entry.photo}
    fields = {entry.tab: _fields(entry, by_id, names.get(entry.tab)) for entry in linked}
    links = Links(services, list(tabs), fields)
    for name, tab in tabs.items():
        components = fields.get(name, {})
        tab.select(None, list(components.values()), None, js=_note(name, components, "open"), api_visibility="private")
    for entry in linked:
        _watch(entry, fields[entry.tab], by_id, links)
    _open_on_load(page, links, linked, by_id, found)
    return links


def _fields(entry: LinkedTab, by_id: dict[str, Any], name: Any) -> dict[str, Any]:
    """Components by their word, the database before what depends on it."""
    found = {DATABASE: by_id[entry.database]} if entry.database else {}
    if name is not None:
        found[QUERY] = name
    if entry.batch_mates:
        found["batch_mates"] = by_id[entry.batch_mates]
    return found | {word: by_id[elem_id] for word, elem_id in entry.choices.items()}


def _watch(entry: LinkedTab, fields: dict[str, Any], by_id: dict[str, Any], links: Links) -> None:
    """Note every change of a tab's choices in the address; in the browser alone but for the photo's name."""
    noted = {"inputs": list(fields.values()), "outputs": None, "js": _note(entry.tab, fields, "note")}
    watched = [by_id[elem_id] for elem_id in (entry.database, *entry.choices.values(), entry.redrawn) if elem_id]
    for component in watched:
        component.change(None, **noted, api_visibility="private")
    if entry.photo:
        photo, database = by_id[entry.photo], by_id[entry.database]
        named = photo.change(links.name_of, [photo, database], fields[QUERY], trigger_mode="always_last", **QUICK)
        named.then(None, **noted, api_visibility="private")


def _open_on_load(
    page: gr.Blocks, links: Links, linked: Sequence[LinkedTab], by_id: dict[str, Any], found: Any
) -> None:
    """Restore the view when the page is loaded; the address is left alone until then.

    Choices first and the photo after them, because a photo is looked at as soon as it is there.
    """
    address = gr.Textbox("", visible=False)
    outputs: list[Any] = [by_id["tabs"]]
    slots: dict[tuple[str, str], int] = {}
    for entry in linked:
        parts = {word: component for word, component in links.fields[entry.tab].items() if word != QUERY}
        parts |= {"examples": by_id[entry.examples]} if entry.photo else {}
        parts |= {"batch_of": by_id[entry.batch_of]} if entry.batch_of else {}
        for word, component in parts.items():
            slots[entry.tab, word] = len(outputs)
            outputs.append(component)
    at_find = len(outputs)
    outputs += found.parts
    pictured = [entry for entry in linked if entry.photo]
    photos = [part for entry in pictured for part in (by_id[entry.photo], links.fields[entry.tab][QUERY])]

    def choose(text: Any) -> list[Any]:
        tab, values, problems = links.read(text)
        for problem in problems:
            gr.Warning(html.escape(problem), duration=12)
        restored: list[Any] = [gr.skip()] * len(outputs)
        if tab is None:
            return restored
        restored[0] = gr.Tabs(selected=tab)
        photo = values.pop(QUERY, None)
        if (tab, "batch_of") in slots:
            values["batch_of"] = Path(photo).name if photo else ""
            if not photo:
                values.pop("batch_mates", None)  # of nobody's batch
        if (tab, "examples") in slots and DATABASE in values:
            values["examples"] = found.handlers.emptied(values[DATABASE])[1]
        if tab == "find" and DATABASE in values and not photo:
            restored[at_find:] = found.handlers.waiting_view(values[DATABASE])
        for word, value in values.items():
            restored[slots[tab, word]] = value
        return restored

    def bring(text: Any) -> list[Any]:
        tab, values, _ = links.read(text)
        found: list[Any] = [gr.skip()] * len(photos)
        for at, entry in enumerate(pictured):
            if entry.tab == tab and QUERY in values:
                found[2 * at : 2 * at + 2] = values[QUERY], Path(values[QUERY]).name
        return found

    quiet = {"js": "() => [window.location.search]", "show_progress": "hidden", "concurrency_limit": None, **QUIET}
    chosen = page.load(toasts(choose), address, outputs, **quiet)
    brought = chosen.then(toasts(bring), address, photos, **quiet)
    components = [component for fields in links.fields.values() for component in fields.values()]
    brought.then(None, components, None, js=_ready(links), api_visibility="private")


def _about(tab: str, fields: dict[str, Any]) -> dict[str, Any]:
    """What the script needs to know of a tab: its words, and the values that need not stand in the address."""
    return {"tab": tab, "fields": list(fields), "first": [component.value for component in fields.values()]}


def _note(tab: str, fields: dict[str, Any], action: str) -> str:
    about = json.dumps(_about(tab, fields))
    return f"(...values) => {{ window.studioLinks?.{action}({about}, values); return []; }}"


def _ready(links: Links) -> str:
    about = json.dumps([_about(tab, fields) for tab, fields in links.fields.items()])
    return f"(...values) => {{ window.studioLinks?.ready({about}, values, {json.dumps(PRIVATE)}); return []; }}"
