"""Numbers, captions and styles of the figures for paper, and where their data come from."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from paper_data import DATA, PROTOCOL
from small_results import result

from scicevpr.cli.main import main
from scicevpr.errors import DatasetError, UsageError
from scicevpr.evaluation.report import latex_table
from scicevpr.evaluation.results import read_results
from scicevpr.figures.paper import Style, draw, parse_labels
from scicevpr.figures.paper.scores import result_data
from scicevpr.figures.paper.subjects import short_name


@pytest.mark.parametrize("name", ["figure-1", "figure-2", "figure-4", "fusion", "attention", "strip"])
def test_the_caption_holds_the_protocol(name):
    assert PROTOCOL in draw(name, DATA[name]()).caption


def test_the_csv_holds_what_is_plotted():
    table = draw("strip", DATA["strip"]()).table
    assert list(table["similarity"][:3]) == [0.9, 0.89, 0.88]
    assert list(table["right"][:2]) == [True, False]
    curve = draw("figure-2", DATA["figure-2"]()).table
    assert list(curve["changed"]) == pytest.approx(list(100 * curve["flips"] / 36), abs=1e-6)
    maps = draw("fusion", DATA["fusion"]()).table
    assert len(maps) == 7 * 256
    assert maps["value"][17] == pytest.approx(DATA["fusion"]().steps[0].values[1, 1], abs=1e-6)
    pairs = draw("figure-1", DATA["figure-1"]()).table
    assert list(pairs["query"].unique()) == ["photo-3.jpg", "photo-5.jpg"]
    assert pairs["partner"].isna().sum() == 4
    attention = draw("attention", DATA["attention"]()).table
    assert attention[attention["panel"] == "attention"].groupby("photo")["value"].sum().to_numpy() == pytest.approx(
        1, abs=1e-5
    )


def test_results_come_back_from_their_file_as_they_were(tmp_path):
    results = [result({0, 5}, "SciceVPR-T").with_intervals(), result({0, 7}, "CricaVPR-T").with_intervals()]
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"results": [one.to_json() for one in results]}))
    stored = result_data(read_results(path))
    direct = result_data(results)
    for name in ("recall", "conditions", "table"):
        for form in ("svg", "csv", "txt"):
            assert draw(name, stored).render(form) == draw(name, direct).render(form)
    assert draw("table", stored).render("tex").decode() == latex_table(results)
    recall = draw("recall", stored).table
    assert list(recall[recall["model"] == "SciceVPR-T"]["recall"]) == pytest.approx(
        [results[0].overall.recalls[n] for n in (1, 5)]
    )
    assert "95% intervals (bootstrap over places)" in draw("recall", stored).caption


def test_results_of_one_title_are_told_apart_and_an_unknown_n_is_said():
    data = result_data([result({1}, "Model"), result({2}, "Model")])
    assert [one.title for one in data.results] == ["Model (1)", "Model (2)"]
    with pytest.raises(UsageError, match="there is 1, 5"):
        result_data([result({1})], n=10)
    assert "Error bars" not in draw("recall", data).caption


@pytest.mark.parametrize(("content", "words"), [("no json", "is not readable JSON"), ("{}", "holds no results"),
                                                ('{"results": [{"overall": null}]}', "predictions only")])  # fmt: skip
def test_wrong_results_are_said(content, words, tmp_path):
    path = tmp_path / "results.json"
    path.write_text(content)
    with pytest.raises(DatasetError, match=words):
        read_results(path)


def test_models_keep_their_colours_and_take_new_names():
    style = Style(labels=parse_labels("SciceVPR-T=Ours; CricaVPR-T = Base"))
    assert (style.name("SciceVPR-T"), style.name("CricaVPR-T"), style.name("HOG")) == ("Ours", "Base", "HOG")
    alone = style.colours(["CricaVPR-T"])["CricaVPR-T"]
    many = style.colours(["HOG", "CricaVPR-T", "CricaVPR-T, shuffled", "SciceVPR-T"])
    assert many["CricaVPR-T"] == alone
    assert len(set(many.values())) == 4


@pytest.mark.parametrize(
    "choice", [{"width": "triple"}, {"palette": "rainbow"}, {"font_size": 3}, {"dpi": 20}, {"font_size": float("nan")}]
)
def test_a_style_that_does_not_exist_is_said(choice):
    with pytest.raises(UsageError):
        Style(**choice)


def test_panels_can_be_chosen():
    both, one = draw("figure-2", DATA["figure-2"]()), draw("figure-2", DATA["figure-2"](), Style(panels=("recall",)))
    assert "(b) the share" in both.caption
    assert one.caption.startswith("Recall@1 over")
    with pytest.raises(UsageError, match="no panel 'map'"):
        draw("figure-2", DATA["figure-2"](), Style(panels=("map",)))
    with pytest.raises(UsageError, match="one panel only"):
        draw("strip", DATA["strip"](), Style(panels=("map",)))
    with pytest.raises(UsageError, match="MODEL=NAME"):
        parse_labels("Ours")


def test_names_for_captions():
    assert short_name("@500000@4000000@32@U@@@pano7@@@@@@@night@.jpg") == "pano7 night"
    assert short_name("holiday.jpg") == "holiday.jpg"


def test_the_command_line_writes_every_format(tmp_path, capsys):
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"results": [result({0, 5}, "SciceVPR-T").with_intervals().to_json()]}))
    files = [tmp_path / f"table.{form}" for form in ("pdf", "svg", "png", "csv", "tex", "txt")]
    code = main(["figure", "table", "--results", str(path), "--output", *map(str, files), "--label", "SciceVPR-T=Ours"])
    shown = capsys.readouterr()
    assert code == 0, shown.err
    assert all(file.stat().st_size > 100 for file in files)
    assert pd.read_csv(files[3])["recall"].max() <= 100
    assert "Ours" in files[4].read_text()
    assert "Recall@N in percent" in shown.out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("recall", "--output", "a.pdf"), "needs --results"),
        (("recall", "--output", "a.doc"), "must end in one of"),
        (("strip", "--output", "a.tex"), "has no LaTeX"),
        (("figure-2", "--output", "a.pdf", "--panels", "map"), "no panel 'map'"),
        (("strip", "--output", "a.pdf", "--dpi", "5"), "72 to 1200"),
    ],
)
def test_the_command_line_says_what_is_wrong_before_the_work(options, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["figure", *options]) == 2
    assert words in capsys.readouterr().err


def test_maps_and_regions_keep_their_arrays():
    data = DATA["figure-4"]()
    table = draw("figure-4", data).table
    assert len(table) == 3 * 14
    assert np.allclose(table["cosine"][:14], data.models[0].cosines, atol=1e-6)


@pytest.mark.parametrize(("typeface", "name"), [("sans", b"DejaVuSans"), ("serif", b"DejaVuSerif")])
def test_both_typefaces_are_embedded_in_pdf_files(typeface, name):
    file = draw("figure-2", DATA["figure-2"](), Style(typeface=typeface)).render("pdf")
    assert b"+" + name in file or b"/" + name in file
    assert b"/FontFile2" in file, "embedded"
    with pytest.raises(UsageError, match="sans or serif"):
        Style(typeface="comic")
