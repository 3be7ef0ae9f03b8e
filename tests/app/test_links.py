"""Addresses: what they open, what they refuse, and that nothing private ever stands in one."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlencode

import gradio as gr
import pytest
import standin

from app.build import LINKED, build_app
from app.core.databases import PRIVATE
from app.ui import links
from app.ui.links import OWN


@pytest.fixture(scope="module")
def made(city_folder):
    """Services of its own with a visitor's private places, and the links of a whole page over them."""
    services = standin.city_services(city_folder)
    key = services.datasets.add_private("Mine", services.datasets["Tiny city"])
    page = build_app(services)
    by_id = {block.elem_id: block for block in page.blocks.values() if getattr(block, "elem_id", None)}
    fields = {
        entry.tab: links._fields(entry, by_id, gr.Textbox(render=False) if entry.photo else None) for entry in LINKED
    }
    tabs = [block.id for block in by_id["tabs"].children]
    return links.Links(services, tabs, fields), key, by_id


def address(**parts: object) -> str:
    return "?" + urlencode(parts, doseq=True)


def test_every_component_of_a_linked_tab_is_on_the_page(made):
    _, _, by_id = made
    for entry in LINKED:
        names = [*entry.choices.values(), entry.database, entry.photo, entry.examples]
        names += [entry.batch_mates, entry.batch_of, entry.redrawn]
        assert not [name for name in names if name and name not in by_id], entry.tab


def test_names_become_values(made):
    found, _, _ = made
    query = found.services.datasets["Tiny city"].queries[4]
    tab, values, problems = found.read(address(tab="inside", query=query.name, model="teacher", match=2, batch_mates=7))
    assert (tab, problems) == ("inside", [])
    photo = Path(values.pop("query"))
    assert (photo.name, photo.read_bytes()) == (query.name, query.path.read_bytes())
    assert values == {"model": "teacher", "match": 2, "batch_mates": 7}
    assert found.read(address(tab="stability", query=query.name, batch_mates="3, 9"))[1]["batch_mates"] == "3,9"
    benchmark = found.read(address(tab="benchmarks", database=["Tiny city"], model=["stable", "teacher"], seed=4))
    assert benchmark[1] == {"database": ["Tiny city"], "model": ["stable", "teacher"], "seed": 4}
    assert found.read(address(tab="my_places", k=3)) == ("my_places", {}, [])


def test_other_addresses_change_nothing(made):
    found, _, _ = made
    assert found.read("") == (None, {}, [])
    assert found.read("?__theme=dark&view=api&k=7") == (None, {}, [])


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"tab": "attic"}, "no tab"),
        ({"tab": "find", "database": "Atlantis", "query": "x.jpg", "k": 3}, "not here"),
        ({"tab": "find", "query": "/etc/passwd"}, "not among the queries"),
        ({"tab": "find", "query": "../../secret.jpg"}, "not among the queries"),
        ({"tab": "find", "k": 21}, "from 1 to 20"),
        ({"tab": "find", "k": "nan"}, "from 1 to 20"),
        ({"tab": "inside", "model": "<b>x</b>"}, "not on offer"),
        ({"tab": "stability", "batch_mates": "a,b"}, "numbers of photos"),
        ({"tab": "figures", "dpi": "many"}, "whole number"),
    ],
)
def test_unknown_names_are_said_and_left_out(made, parts, words):
    found, _, _ = made
    _, values, problems = found.read(address(**parts))
    assert values == {}
    assert len(problems) == 1
    assert words in problems[0]


def test_the_rest_of_a_link_still_opens(made):
    found, _, _ = made
    tab, values, problems = found.read(address(tab="find", query="gone.jpg", k=9))
    assert (tab, values, len(problems)) == ("find", {"k": 9}, 1)


def test_a_private_database_is_never_opened_and_never_named(made):
    found, key, _ = made
    assert key.startswith(PRIVATE)
    query = found.services.datasets[key].queries[0]
    for tab in ("find", "benchmarks"):
        _, values, problems = found.read(address(tab=tab, database=key, query=query.name))
        assert values == {}
        assert key not in "".join(problems)
    photo = {"path": str(query.path), "orig_name": query.name}
    assert found.name_of(photo, "Tiny city") == query.name
    assert found.name_of(photo, key) == ""
    assert found.name_of({"path": "/tmp/me.jpg", "orig_name": "my house.jpg"}, "Tiny city") == OWN
    tab, values, problems = found.read("?tab=find&query=own+photo&k=7")
    assert (tab, values) == ("find", {"k": 7})
    assert "bring the photo" in problems[0]
    assert found.name_of(None, "Tiny city") == ""


def test_the_script_knows_how_private_keys_begin(made):
    assert f'"{PRIVATE}"' in links._ready(made[0])
