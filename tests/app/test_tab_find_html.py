"""The HTML pieces and the map: escaped, complete, the same in every state."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import standin
from PIL import Image

from app.core.model_slots import ModelState
from app.tabs.find.html import answer_html, found_map, protocol_html, strip_html, waiting_html, waiting_strip_html
from app.tabs.find.place import place_html
from app.tabs.find.scale import scale_html
from app.ui.header import header_html, notice_html
from app.ui.html import data_uri, escape, metres_words, picture, thumbnail
from scicevpr.datasets import Photo
from scicevpr.datasets.zones import degrees_of
from scicevpr.figures.screen import MapSeries, match_map

EVIL = '"><script>alert(1)</script>${x}{{y}}`'


class Balanced(HTMLParser):
    """Checks that tags nest and notes every tag and attribute seen."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.attributes = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("img", "rect", "path", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parsed(text: str) -> Balanced:
    reader = Balanced()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    return reader


@pytest.fixture(scope="module")
def found(services):
    query = services.dataset(None)[1].queries[2]
    return services.find(query.path, query.name, k=6, batch_mates=2)


def test_cards_show_rank_similarity_metres_and_a_second_cue(found):
    text = answer_html(found.stable)
    reader = parsed(text)
    assert reader.tags.count("img") == 6
    for hit in found.stable.hits:
        assert f'data-rank="{hit.rank}" data-verdict="{"right" if hit.right else "wrong"}"' in text
        assert f"{hit.similarity:.3f}" in text
        assert f">{metres_words(hit.metres)}<" in text
    rights = sum(hit.right for hit in found.stable.hits)
    assert text.count('badge--verdict" aria-hidden="true">✓') == rights
    assert text.count('badge--verdict" aria-hidden="true">✕') == 6 - rights
    alts = [value for name, value in reader.attributes if name == "alt"]
    assert all("rank" in alt and ("right" in alt or "wrong" in alt) for alt in alts)
    assert "untrained weights" in text


def test_the_answer_stands_in_one_sentence_and_links_to_a_map_where_the_place_is_real(services, found):
    words = place_html(found)
    parsed(words)
    best = found.stable.hits[0]
    latitude, longitude = degrees_of(best.photo)
    assert f"{latitude:.5f}, {longitude:.5f}" in words
    assert f"https://www.openstreetmap.org/?mlat={latitude:.5f}" in words
    assert "openstreetmap" not in place_html(replace(found, drawn=True))
    assert ("That is right:" in words) == best.right
    unknown = place_html(replace(found, position=None, position_problem="its GPS data says 0, 0"))
    assert "its GPS data says 0, 0" in unknown
    nothing = replace(found.stable, hits=(), problem="No descriptors.")
    assert found.baseline.title in place_html(replace(found, stable=nothing))
    assert EVIL not in place_html(replace(found, position_problem=EVIL, position=None))
    assert scale_html(found.stable) == "", "nobody measured these random weights"
    assert 'data-why="stable" data-rank="6"' in answer_html(found.stable)
    assert "data-why" not in answer_html(replace(found.stable, role="third"))


def test_the_map_starts_at_query_and_matches_with_the_whole_city_one_click_away(found):
    figure = found_map(found)
    near, whole = (button.args[0] for button in figure.layout.updatemenus[0].buttons)
    for axis, letter in ((figure.layout.xaxis, "x"), (figure.layout.yaxis, "y")):
        assert list(axis.range) == list(near[f"{letter}axis.range"])
        assert whole[f"{letter}axis.range"][0] <= axis.range[0]
        shown = [value for trace in figure.data[1:] for value in getattr(trace, letter) if value is not None]
        assert all(axis.range[0] < value < axis.range[1] for value in shown)
    assert figure.layout.updatemenus[0].buttons[1].label == "Whole database"


def test_unknown_positions_get_neutral_frames_without_signs(found):
    hits = tuple(replace(hit, right=None, metres=None) for hit in found.stable.hits)
    answer = replace(
        found.stable, hits=hits, first_positive=None, first_positive_metres=None, positives=None, trained=True
    )
    text = answer_html(answer)
    assert text.count('data-verdict="neutral"') == 6
    assert "badge--verdict" not in text
    assert "untrained" not in text


def test_everything_from_outside_is_escaped(found):
    photo = Photo(Path("/nowhere") / "x.jpg", EVIL, (1.0, 2.0), None, 10.0, None, EVIL)
    hits = (replace(found.stable.hits[0], photo=photo),)
    answer = replace(found.stable, hits=hits, title=EVIL, protocol={EVIL: EVIL})
    strange = replace(found, query_photo=photo, stable=answer, baseline=answer, batch_mates=(photo,))
    state = ModelState("stable", "x", EVIL, "missing", message=EVIL)
    for text in (
        answer_html(answer),
        strip_html(strange),
        protocol_html((answer, answer)),
        notice_html([state], [EVIL]),
    ):
        assert "script" not in parsed(text).tags
        for sign in ("<script", "${", "{{", "`"):
            assert sign not in text
    assert escape("a&b") == "a&amp;b"


def test_a_lost_photo_leaves_a_note_instead_of_an_error(found):
    gone = Photo(Path("/nowhere/x.jpg"), "x.jpg")
    text = answer_html(replace(found.stable, hits=(replace(found.stable.hits[0], photo=gone),)))
    assert "photo not readable" in text
    assert thumbnail(gone.path) is None
    assert "role=" in picture(None, "alt", "caption")


def test_thumbnails_are_small_and_keep_the_shape(tmp_path):
    path = tmp_path / "large.png"
    Image.new("RGB", (2000, 1000), "teal").save(path)
    uri = thumbnail(path)
    image = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    assert image.size == (480, 240)
    assert image.format == "JPEG"
    assert uri == thumbnail(path)
    assert data_uri(standin.noise_photo(), 40).startswith("data:image/jpeg;base64,")


def test_strip_names_the_whole_batch_and_what_it_did(found, services):
    text = strip_html(found)
    parsed(text)
    assert text.count('<li class="tile') == 3
    assert f"{found.cosine_to_alone:.3f}" in text
    query = services.dataset(None)[1].queries[2]
    alone = strip_html(services.find(query.path, query.name))
    assert "Alone" in alone
    assert alone.count('<li class="tile') == 1


def test_protocol_writes_shared_values_once(found):
    text = protocol_html(found.answers)
    parsed(text)
    assert text.count("2688 dimensions") == 1
    assert text.count("alone") == 1
    assert "sequential 16" in text
    assert "will stand here" in protocol_html(())


def test_waiting_pieces_and_head_are_well_formed():
    for text in (waiting_html("stable", "SciceVPR-T"), waiting_strip_html(), header_html(), notice_html([])):
        parsed(text)
    assert "2502.20676" in header_html()
    assert notice_html([]) == ""


def test_notices_tell_missing_from_untrained():
    ready = ModelState("stable", "a", "A", "ready", trained=True, weights="x")
    assert notice_html([ready]) == ""
    assert "Untrained" in notice_html([replace(ready, trained=False)])
    missing = notice_html([replace(ready, state="missing", message="Download them.")])
    assert "A cannot be used" in missing
    assert "Download them." in missing
    assert "assets/weights" in missing
    assert "Warming up" in notice_html([replace(ready, state="waiting")], warm=False)


@pytest.mark.parametrize(("metres", "words"), [(None, ""), (5.6, "6 m"), (999.2, "999 m"), (12_345.0, "12.3 km")])
def test_metres_words(metres, words):
    assert metres_words(metres) == words


def test_map_draws_metres_from_its_origin_and_tells_models_apart_by_shape():
    database = np.array([[584_305.0, 4_477_003.0], [584_405.0, 4_477_103.0]])
    series = [
        MapSeries("A", database, [True, False], "circle-open", ["a1", "a2"]),
        MapSeries("B", database[:1], [None], "square-open", ["b1"]),
    ]
    figure = match_map(database, series, (584_310.0, 4_477_003.0))
    by_name = {}
    for trace in figure.data:
        by_name.setdefault(trace.name, []).append(trace)
    assert list(by_name["database"][0].x) == [5.0, 105.0]
    assert list(by_name["query"][0].y) == [3.0]
    assert "584,300" in figure.layout.xaxis.title.text
    circle = by_name["within 25 m"][0]
    assert max(circle.x) - min(circle.x) == pytest.approx(50.0, abs=0.1)
    assert {trace.marker.symbol for trace in by_name["A"]} == {"circle-open"}
    assert {trace.marker.symbol for trace in by_name["B"]} == {"square-open"}
    assert len({trace.marker.color for trace in by_name["A"][1:]}) == 2  # right and wrong
    assert figure.layout.yaxis.scaleanchor == "x"
    assert figure.layout.paper_bgcolor == "rgba(0,0,0,0)"


def test_close_matches_share_a_label_and_a_far_query_is_named_not_drawn():
    database = np.array([[0.0, 0.0], [1.0, 0.0], [500.0, 500.0]]) + 1000.0
    series = [MapSeries("A", database, [True, True, True], "circle-open", ["1", "2", "3"])]
    labels = [label for trace in match_map(database, series).data for label in (trace.text or ())]
    assert labels == ["1, 2", "", "3"]
    figure = match_map(database, series, (90_000.0, 1_000.0))
    assert "query" not in {trace.name for trace in figure.data}
    assert "outside the drawing" in figure.layout.annotations[0].text
