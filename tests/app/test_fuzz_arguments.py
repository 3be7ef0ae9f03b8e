"""Every named endpoint with arguments of every kind: a right answer or a sentence of ours, never another failure.

The values come from hypothesis, the same on every run; SCICEVPR_FUZZ_EXAMPLES asks for more of them per endpoint.
"""

from __future__ import annotations

import html
import json
import os

import gradio as gr
import pytest
import standin
from gradio.state_holder import SessionState
from wire import finished

from app.build import build_app
from app.ui.events import OUR_FAULT

hypothesis = pytest.importorskip("hypothesis", reason="hypothesis is not installed (pip install hypothesis)")
st = hypothesis.strategies

EXAMPLES = int(os.environ.get("SCICEVPR_FUZZ_EXAMPLES", "25"))
NUMBERS = st.one_of(
    st.integers(-3, 40), st.sampled_from([2**63, -(2**70), 10**400, 1e308, -0.0, 0.5, float("nan"), float("inf")])
)
WORDS = (
    "stable", "baseline", "third", "Tiny city", "mine-x", "strip", "file", "alone", "shuffled 3", "shuffled ²",
    "1,8,32", "0", "place", "T", "scicevpr", "night", "near", "/etc/passwd", "../x", "\0", "٣", "=1+1",
    "python:os:getcwd", "hub:/tmp:x", "", "x" * 5_000, "1" * 5_000, "\ud800", "a\ud83d.png", "data:,x",
    "data:application/json;base64,e30=",
)  # fmt: skip
TEXTS = st.one_of(st.sampled_from(WORDS), st.text(max_size=12))
PLAIN = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
VALUES = st.recursive(
    PLAIN,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    max_leaves=6,
)
FILES = st.one_of(
    VALUES,
    st.fixed_dictionaries(
        {"path": VALUES}, optional={"url": VALUES, "orig_name": VALUES, "meta": VALUES, "size": VALUES}
    ),
)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    services = standin.city_services(standin.write_city(tmp_path_factory.mktemp("small") / "city", places=3))
    return build_app(services)


def names(page) -> list[str]:
    return sorted(fn.api_name for fn in page.fns.values() if fn.api_visibility == "public" and fn.fn is not None)


def test_arguments_of_every_kind_get_an_answer_or_a_sentence(page):
    assert len(names(page)) == 16
    for name in names(page):
        ask_anything(page, next(fn for fn in page.fns.values() if fn.api_name == name))


def ask_anything(page, fn) -> None:
    """Ask one endpoint with what hypothesis thinks of."""
    state = SessionState(page)
    strategies = [FILES if isinstance(block, (gr.Image, gr.JSON)) else VALUES for block in fn.inputs]

    @hypothesis.settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip
    @hypothesis.given(values=st.tuples(*strategies))
    def asked(values):
        try:
            answer = finished(page.process_api(fn, list(values), state=state, in_event_listener=True))
        except gr.Error as error:
            said = html.unescape(str(error.message))
            assert said, fn.api_name
            assert said != OUR_FAULT, (fn.api_name, values)
            assert len(said) < 3_000, (fn.api_name, len(said))
            return
        json.dumps(answer["data"], default=str)

    asked()
