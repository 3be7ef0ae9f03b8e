"""Benchmark runs without a browser: numbers as the command line gives them, remembered, stopped, looked at, written."""

from __future__ import annotations

import csv
import json
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
import standin

from app.core.descriptor_store import DescriptorStore
from app.core.model_slots import BASELINE, STABLE
from app.core.services import Services
from app.tabs.benchmarks.handlers import BenchmarkHandlers, bars_of, curves_of
from app.tabs.benchmarks.html import comparison_words, protocols_html, queries_html, results_html
from app.tabs.benchmarks.query_table import QueryTable
from app.tabs.benchmarks.report_files import write_files
from app.tabs.benchmarks.results import Cost, Result, Search, SearchStore, compared
from app.tabs.benchmarks.service import Benchmarks, grouping_of
from app.tabs.models_and_data.service import Sources
from scicevpr.datasets import read_dataset
from scicevpr.descriptors.batches import Grouping
from scicevpr.errors import UsageError
from scicevpr.evaluation.benchmark import evaluate, score_matches
from scicevpr.packs.build import Content, build_pack
from scicevpr.retrieval.matches import Matches

pytestmark = pytest.mark.slow  # whole evaluations; the numbers behind them are tested in tests/unit

CITY = "Tiny city"


@pytest.fixture(scope="module")
def small_city(tmp_path_factory):
    return standin.write_city(tmp_path_factory.mktemp("benchmarks") / "city", places=6)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def services_over(city, cache=None) -> Services:
    models = standin.recorded_services(city).slots._first
    return Services({CITY: read_dataset(city)}, models, DescriptorStore(cache=cache))


@pytest.fixture(scope="module")
def benchmarks(small_city, cache):
    return Benchmarks(services_over(small_city, cache))


@pytest.fixture(scope="module")
def both(benchmarks):
    return [benchmarks.measure(CITY, role) for role in (STABLE, BASELINE)]


def answered(dataset, firsts, role=STABLE, title="A", similarities=None) -> Result:
    """A made-up result: the first answers of the queries, then all other photos in order."""
    count = len(dataset.database)
    rows = np.array([[first, *(row for row in range(count) if row != first)] for first in firsts])
    cosines = np.tile(np.linspace(0.9, 0.1, count, dtype=np.float32), (len(rows), 1))
    if similarities is not None:
        cosines[:, 0] = similarities
    matches = Matches(rows, 2 - 2 * cosines, cosines)
    ns = (1, min(5, count))
    evaluation = score_matches(title, dataset, matches, ns=ns, protocol={"variant": title}).with_intervals()
    return Result(f"{title}-{role}", CITY, CITY, role, evaluation, Cost(8, count, 1.5), "measured now")


# ---- the numbers ------------------------------------------------------------------------------------------------


def test_a_run_gives_the_numbers_of_the_library_and_says_what_it_does(benchmarks, small_city):
    steps = list(benchmarks.run([CITY], [STABLE, BASELINE]))
    results = [step.new for step in steps if step.new]
    assert [result.role for result in results] == [STABLE, BASELINE]
    for result in results:
        plain = evaluate(benchmarks.services.model(result.role), read_dataset(small_city)).with_intervals()
        assert result.evaluation.overall == plain.overall
        assert result.evaluation.conditions == plain.conditions
        shared = {k: v for k, v in plain.protocol.items() if result.evaluation.protocol.get(k) != v}
        assert shared == {}
    assert results[1].cost.dimensions == 2688
    assert results[1].cost.ms_a_photo > 0
    assert results[1].cost.database_megabytes == pytest.approx(12 * 2688 * 4 / 1e6)


def test_a_result_is_remembered_in_memory_and_between_runs(benchmarks, both, small_city, cache, monkeypatch):
    assert benchmarks.measure(CITY, STABLE).source == "remembered"
    monkeypatch.setattr("app.tabs.benchmarks.service.evaluate", lambda *a, **k: pytest.fail("measured again"))
    again = Benchmarks(services_over(small_city, cache)).measure(CITY, STABLE)
    assert again.source == "remembered"
    assert again.evaluation.overall == both[0].evaluation.overall
    assert again.cost == both[0].cost
    assert again.evaluation.protocol == both[0].evaluation.protocol


def test_nothing_about_a_visitors_own_places_is_kept(small_city, tmp_path):
    services = services_over(small_city, tmp_path)
    dataset, model = services.datasets[CITY], services.model(STABLE)
    described = services.described(STABLE, CITY).descriptors
    own = Benchmarks(services)
    key = services.add_private(
        "Mine", dataset, lambda wanted, part="database": None if part == "queries" else (described, None)
    )
    result = own.measure(key, STABLE)
    assert model.weights is not None
    assert not (tmp_path / "benchmarks").exists()
    assert own.results([result.key]) == [result]
    services.datasets.remove_private(key)
    assert own.results([result.key]) == []


def test_grouping_and_photos_are_part_of_the_fingerprint_where_they_matter(benchmarks, both, small_city, tmp_path):
    keys = {grouping: benchmarks._task(CITY, BASELINE, grouping).key for grouping in ("file", "alone", "shuffled 1")}
    assert len(set(keys.values())) == 3
    assert benchmarks._task(CITY, STABLE, "alone").key == benchmarks._task(CITY, STABLE, "file").key
    copy = shutil.copytree(small_city, tmp_path / "copy")
    first = next((copy / "images" / "test" / "queries").iterdir())
    before = Benchmarks(services_over(copy))._task(CITY, STABLE, "file").key
    first.write_bytes(first.read_bytes() + b" ")
    assert Benchmarks(services_over(copy))._task(CITY, STABLE, "file").key != before


def test_the_grouping_reaches_the_model(benchmarks):
    alone, together = (benchmarks.measure(CITY, BASELINE, grouping) for grouping in ("alone", "shuffled 3"))
    assert alone.evaluation.protocol["query grouping"] == "alone"
    assert together.evaluation.protocol["query grouping"] == "shuffled with seed 3, 16"
    assert not np.array_equal(alone.evaluation.matches.similarities, together.evaluation.matches.similarities)


def test_groupings_in_words(benchmarks):
    model, dataset = benchmarks.services.model(BASELINE), benchmarks.services.datasets[CITY]
    assert grouping_of("file", model, dataset) == Grouping.sequential(16)
    assert grouping_of("alone", benchmarks.services.model(STABLE), dataset) is None
    for wrong in ("", "place", "alone 3", "shuffled x", "shuffled 1000"):
        with pytest.raises(UsageError, match="grouping must be"):
            grouping_of(wrong, model, dataset)


def test_a_damaged_or_foreign_file_of_the_cache_is_passed_over(tmp_path):
    found = Matches(np.array([[1, 0]]), np.zeros((1, 2), np.float32), np.array([[0.5, np.nan]], np.float32))
    search, store = Search(found, {"a": "b"}, (), 8, None, 1.0), SearchStore(tmp_path)
    store.put("key", search)
    read = store.get("key", 1, 2)
    assert np.array_equal(read.matches.similarities, found.similarities, equal_nan=True)
    assert (read.dimensions, read.ms_a_photo, read.protocol) == (8, None, {"a": "b"})
    assert store.get("key", 2, 2) is None
    assert store.get("key", 1, 1) is None
    for content in ("{", "[]", "{}", json.dumps({"format": "other"})):
        (tmp_path / "key.json").write_text(content)
        assert store.get("key", 1, 2) is None


# ---- errors and stopping ----------------------------------------------------------------------------------------


def test_wrong_choices_are_refused_before_anything_runs(benchmarks):
    for databases, roles, words in (
        ([], [STABLE], "at least one database"),
        ([CITY], [], "at least one model"),
        (["Atlantis"], [STABLE], "no database 'Atlantis'"),
        ([CITY], ["fourth"], "no model 'fourth'"),
    ):
        with pytest.raises(UsageError, match=words):
            next(benchmarks.run(databases, roles))


def test_a_database_without_labels_is_a_problem_and_the_others_go_on(small_city):
    services = services_over(small_city)
    dataset = services.datasets[CITY]
    services.add_database("Unlabelled", replace(dataset, use_labels=False, root=dataset.root / "x"))
    steps = list(Benchmarks(services).run(["Unlabelled", CITY], [STABLE]))
    assert ["needs ground truth" in step.problem for step in steps if step.problem] == [True]
    assert [step.new.database for step in steps if step.new] == [CITY]


def test_closing_a_run_stops_it_before_the_queries_are_done(small_city, monkeypatch):
    benchmarks, going, stopped = Benchmarks(services_over(small_city)), threading.Event(), threading.Event()
    benchmarks.services.described(STABLE, CITY)

    def slow(*_, progress, **__):
        try:
            for done in range(1000):
                progress("queries", done, 1000)
                going.set()
                threading.Event().wait(0.01)
        except BaseException:
            stopped.set()
            raise

    monkeypatch.setattr("app.tabs.benchmarks.service.evaluate", slow)
    run = benchmarks.run([CITY], [STABLE])
    assert "searching" in next(run).label or going.wait(5)
    assert "queries described" in next(run).label
    run.close()
    assert stopped.wait(5)
    assert not benchmarks._results._kept


def test_an_unexpected_error_reaches_the_caller(small_city, monkeypatch):
    benchmarks = Benchmarks(services_over(small_city))
    monkeypatch.setattr("app.tabs.benchmarks.service.evaluate", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(benchmarks.run([CITY], [STABLE]))


@pytest.mark.slow
def test_a_pack_without_photos_is_scored_with_its_own_query_descriptors(benchmarks, small_city, tmp_path):
    copy = shutil.copytree(small_city, tmp_path / "city")
    models = [benchmarks.services.model(role) for role in (STABLE, BASELINE)]
    full = build_pack(tmp_path / "full", read_dataset(copy), models, title="With queries")
    database = Content(benchmarks.services.described(STABLE, CITY).descriptors)
    bare = build_pack(tmp_path / "bare", read_dataset(copy), [database], title="Bare")
    shutil.rmtree(copy)
    services = services_over(small_city)
    sources, own = Sources(services, standin.load_recorded), Benchmarks(services)
    names = [sources.open_pack(str(pack.folder)) for pack in (full, bare)]
    found = own.measure(names[0], BASELINE)
    assert found.evaluation.overall.recalls == benchmarks.measure(CITY, BASELINE).evaluation.overall.recalls
    assert found.cost.ms_a_photo is None
    assert "of the pack" in found.evaluation.protocol["query descriptors"]
    assert "not timed" in results_html([found])
    with pytest.raises(UsageError, match="'sequential 16' only"):
        own.measure(names[0], BASELINE, "alone")
    with pytest.raises(UsageError, match="not here, and it comes without"):
        own.measure(names[1], STABLE)


# ---- single queries ---------------------------------------------------------------------------------------------


@pytest.fixture
def table(benchmarks):
    dataset = benchmarks.services.datasets[CITY]
    right = [int(rows[0]) for rows in dataset.positives()]
    a, b = list(right), list(right)
    a[1] = right[2]  # 40 m away: a near miss
    b[1] = right[5]
    b[2] = right[5]
    return QueryTable([answered(dataset, a), answered(dataset, b, BASELINE, "B")])


def test_queries_are_selected_by_who_is_wrong(table):
    selected = {
        show: sorted(table.select(show, BASELINE).tolist()) for show in ("any", "only", "wrong", "right", "near")
    }
    assert selected == {"any": [0, 1, 2, 3, 4, 5], "only": [2], "wrong": [1], "right": [0, 3, 4, 5], "near": [1]}
    assert table.select("only", STABLE).tolist() == []
    condition = table.dataset.queries[2].condition
    assert table.select("any", STABLE, condition).tolist() == [2]
    for show, role, order in (("odd", STABLE, "file"), ("any", "third", "file"), ("any", STABLE, "odd")):
        with pytest.raises(UsageError):
            table.select(show, role, None, order)


def test_queries_are_sorted_by_margin(benchmarks):
    dataset = benchmarks.services.datasets[CITY]
    right = [int(rows[0]) for rows in dataset.positives()]
    firsts = [right[1], right[0], *right[2:]]
    table = QueryTable([answered(dataset, firsts, similarities=[0.95, 0.99, 0.91, 0.97, 0.93, 0.98])])
    assert table.select("any", STABLE, None, "successes").tolist()[-1] == 1
    assert table.select("any", STABLE, None, "mistakes").tolist()[:2] == [1, 0]
    assert table.select("any", STABLE, None, "file").tolist() == list(range(6))
    row = table.row(0)
    others = [row for row in range(len(dataset.database)) if row != right[1]]
    best = 1 + others.index(min(dataset.positives()[0]))
    cosine = float(table.results[0].evaluation.matches.similarities[0, best])
    assert row.answers[0].margin == pytest.approx(cosine - 0.95, abs=1e-6)
    assert row.answers[0].hit.right is False
    assert row.answers[0].hit.metres == pytest.approx(40, abs=10)


def test_a_margin_is_a_bound_where_no_right_photo_was_found_and_unknown_where_none_exists(benchmarks):
    dataset = benchmarks.services.datasets[CITY]
    result = answered(dataset, [0] * 6)
    cut = Matches(*(part[:, :3] for part in vars(result.evaluation.matches).values()))
    evaluation = score_matches("A", dataset, cut, ns=(1, 3)).with_intervals()
    lost = (np.array([], dtype=np.int64), *evaluation.positives[1:])
    table = QueryTable([replace(result, evaluation=replace(evaluation, positives=lost))])
    assert table.row(5).answers[0].at_least
    assert table.row(5).answers[0].margin < 0
    assert table.row(0).answers[0].margin is None
    assert not table.row(0).findable
    assert table.select("any", STABLE).tolist()[-1] == 0
    page = queries_html([table.row(5), table.row(0)])
    assert "margin ≤ -" in page
    assert "No database photo shows this place" in page


# ---- the page's pieces ------------------------------------------------------------------------------------------


def test_the_table_holds_every_number_with_its_interval(both):
    page = results_html(both)
    for result in both:
        scores = result.evaluation.overall
        low, high = scores.intervals.recalls[1]
        assert f"<td>{scores.recalls[1]:.1f}<small" in page
        assert f"{low:.1f} to {high:.1f}" in page
    assert "2,688" in page
    protocols = protocols_html(both)
    assert "hash-cricavpr-t" in protocols
    assert "sequential 16" in protocols


def test_a_comparison_is_one_sentence_that_claims_no_more_than_it_knows(benchmarks):
    dataset = benchmarks.services.datasets[CITY]
    right = [int(rows[0]) for rows in dataset.positives()]
    good, bad = answered(dataset, right), answered(dataset, [right[5], *right[1:]], BASELINE, "B")
    assert "same first answers right: 100.0 % of 6" in comparison_words(compared(good, good), CITY)
    words = comparison_words(compared(good, bad), CITY)
    assert "neither is shown to be better" in words
    assert "1 of 6 queries are right first with A only, 0 with B only" in words
    worst = answered(dataset, [right[(i + 3) % 6] for i in range(6)], BASELINE, "B")
    assert "A is better than B by 100.0 points" in comparison_words(compared(good, worst), CITY)


def test_files_hold_what_the_page_shows(both, tmp_path):
    files = {path.name: path for path in write_files(tmp_path, both, [(CITY, compared(*both))])}
    with files["benchmark.csv"].open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    value = next(
        float(row["value"])
        for row in rows
        if (row["model"], row["condition"], row["metric"], row["n"]) == (both[1].title, "all", "recall", "5")
    )
    assert value == both[1].evaluation.overall.recalls[5]
    assert {row["metric"] for row in rows} >= {"recall", "mrr", "ms_a_photo", "database_megabytes"}
    with files["curves.csv"].open(encoding="utf-8") as file:
        curve = [row for row in csv.DictReader(file) if row["model"] == both[0].title]
    assert len(curve) == 12  # the database has no more photos
    assert float(curve[4]["recall"]) == pytest.approx(both[0].evaluation.overall.recalls[5])
    assert float(curve[4]["low"]) == pytest.approx(both[0].evaluation.overall.intervals.recalls[5][0])
    content = json.loads(files["benchmark.json"].read_text(encoding="utf-8"))
    assert "predictions" not in content["results"][0]
    assert content["comparisons"][0]["rows"][0]["n"] == 1
    assert r"\begin{tabular}" in files["benchmark.tex"].read_text(encoding="utf-8")


def test_figures_draw_the_intervals(both):
    curve, scores = both[0].curve, both[0].evaluation.overall
    figure = curves_of(both)
    band, line = figure.data[0], figure.data[1]
    assert band.y[: len(curve.ns)] == pytest.approx(curve.high, abs=1e-3)
    assert line.y[4] == pytest.approx(scores.recalls[5], abs=1e-3)
    bar = bars_of(both).data[0]
    low, high = scores.intervals.recalls[1]
    assert bar.y[-1] - bar.error_y.arrayminus[-1] == pytest.approx(low)
    assert bar.y[-1] + bar.error_y.array[-1] == pytest.approx(high)
    looks = [(trace.line.color, trace.line.dash) for trace in figure.data if trace.mode == "lines+markers"]
    assert len(set(looks)) == len({dash for _, dash in looks}) == 2  # told apart without colours as well


# ---- handlers ---------------------------------------------------------------------------------------------------


@pytest.fixture
def handlers(benchmarks):
    return BenchmarkHandlers(benchmarks)


def test_a_run_fills_the_page_model_by_model(handlers, both):
    visitor = SimpleNamespace(session_hash="a visitor")
    steps = list(handlers.run([CITY], [STABLE, BASELINE], "file", 0, None, visitor))
    tables = [values[2] for values in steps if isinstance(values[2], str)]
    assert tables[0].count("<tr data-model") == 1
    assert tables[-1].count("<tr data-model") == 2
    words, problems, _, keys, shown, curves, bars, *_ = steps[-1]
    assert words == "Done: 2 of 2 measured."
    assert problems == ""
    assert len(keys.split(",")) == 2
    assert shown["value"] == CITY
    names = [trace.name for trace in curves["value"].data if trace.showlegend is not False]
    assert names == [result.title for result in both]
    assert [bar.name for bar in bars["value"].data] == names
    assert len(bars["value"].data[0].x) == 7  # six conditions and all


def test_queries_are_paged_and_opened(handlers, both):
    keys = ",".join(result.key for result in both)
    assert [button["value"].rpartition(".")[2] for button in handlers.files(keys)] == ["csv", "csv", "tex", "json"]
    page, words, at = handlers.turn(0)(keys, CITY, "any", STABLE, "", "file", 0)
    assert page.count('<li class="query"') == 6
    assert words.startswith("6 of 6 queries; shown: 1 to 6")
    assert at == 0
    assert handlers.turn(1)(keys, CITY, "any", STABLE, "", "file", 0)[2] == 0  # there is no second page
    event = gr.EventData(None, {"row": 3, "to": "inside"})
    row, database, tab, role, others = handlers.open(keys, CITY, BASELINE, event)
    assert (row, database, tab, role, others) == ("3", CITY, "inside", BASELINE, "5")  # the batch of 16 has six photos
    file = Path(handlers.opened(row, database)[1])
    assert file.read_bytes() == both[0].dataset.queries[3].path.read_bytes()
    with pytest.raises(gr.Error):
        handlers.open(keys, CITY, STABLE, gr.EventData(None, {"row": 99, "to": "find"}))


def test_forgotten_results_leave_an_empty_page(handlers):
    values = handlers.view("gone-stable", None)
    assert values[1]["visible"] is False
    assert not any(button["visible"] for button in handlers.files("gone-stable"))
    assert "stands here" in handlers.turn(0)("gone-stable", None, "any", STABLE, "", "file", 0)[0]
    with pytest.raises(gr.Error, match="forgotten"):
        handlers.open("gone-stable", None, STABLE, gr.EventData(None, {"row": 0}))


def test_the_endpoint_gives_scores_protocol_and_cost_without_predictions(handlers):
    found = handlers.api_benchmark(CITY, "baseline", "file")
    assert set(found["overall"]["recall_percent"]) == {"1", "5", "10", "100"}
    assert found["cost"]["descriptor_dimensions"] == 2688
    assert "predictions" not in found
    json.dumps(found)
    with pytest.raises(gr.Error, match="no model"):
        handlers.api_benchmark(CITY, "nobody", "file")
