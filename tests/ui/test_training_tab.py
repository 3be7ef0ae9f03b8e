"""The Training tab in a real browser: a stage is looked at, a student is distilled and tried in Find."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install playwright)")

from page_tabs import PATIENCE, go_to_tab
from playwright.sync_api import expect

sys.path.append(str(Path(__file__).resolve().parents[1] / "training"))


@pytest.fixture(scope="module")
def address(city_folder):
    """A page of its own over tiny models, whose columns may be changed."""
    import standin
    import tiny_family
    from wire import served

    from app.build import build_app
    from app.core.model_slots import BASELINE, STABLE, TEACHER
    from app.core.services import Services
    from app.tabs.models_and_data.service import Sources
    from scicevpr.datasets import read_dataset
    from scicevpr.models.model import build_model

    tiny_family.register()
    models = {}
    for role, name in ((STABLE, "scicevpr-x"), (BASELINE, "cricavpr-x"), (TEACHER, "super-cricavpr-x")):
        model = build_model(name)
        model.allow_untrained = True
        models[role] = (name, lambda model=model: model)
    services = Services({"Tiny city": read_dataset(city_folder)}, models)
    page = build_app(services, Sources(services, standin.load_recorded))
    services.warm_up()
    with served(page, services) as found:
        yield found.url
    tiny_family.unregister()


def test_a_student_is_distilled_and_tried(open_page):
    page = open_page()
    go_to_tab(page, "Training")
    expect(page.locator("#train-honesty")).to_contain_text("not comparable", timeout=PATIENCE)
    expect(page.locator("#stage-command")).to_contain_text("training.distill")
    page.locator("#stages [data-part=teacher]").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#stage-text")).to_contain_text("Teacher: Super-CricaVPR", timeout=PATIENCE)
    expect(page.locator("#stage-command")).to_contain_text("training.cross_image", timeout=PATIENCE)
    expect(page.locator("#stage-full")).to_contain_text("training.full_size", timeout=PATIENCE)
    expect(page.locator("#train-try")).to_be_disabled()
    page.locator("#train-run").click()
    expect(page.locator("#train-words")).to_contain_text("Done: ", timeout=PATIENCE)
    expect(page.locator("#train-table tr[data-model='Student after 8 epochs']")).to_be_visible()
    expect(page.locator("#train-losses .legendtext", has_text="L_MS").first).to_be_visible(timeout=PATIENCE)
    expect(page.locator("#train-recall .legendtext", has_text="student").first).to_be_visible(timeout=PATIENCE)
    expect(page.locator("#train-try")).to_be_enabled(timeout=PATIENCE)
    page.locator("#train-try").click()
    expect(page.get_by_role("tab", name="Find")).to_have_attribute("aria-selected", "true", timeout=PATIENCE)
    page.locator("#examples button.thumbnail-item").first.click()
    expect(page.locator("#answer-third [data-verdict]")).to_have_count(5, timeout=PATIENCE)
    expect(page.locator("#answer-third")).to_contain_text("trained here")
    other = open_page()  # a student belongs to the visitor who trained it
    other.locator("#examples button.thumbnail-item").first.click()
    expect(other.locator("#answer-stable [data-verdict]")).to_have_count(5, timeout=PATIENCE)
    expect(other.locator("#answer-third")).to_have_count(0)


def test_a_run_is_stopped_on_a_phone(open_page, monkeypatch):
    import threading

    import training.live

    real, going = training.live.distillation_step, threading.Event()

    def slow(*values):
        going.wait(0.3)  # until Stop was pressed, every step takes its time
        return real(*values)

    monkeypatch.setattr(training.live, "distillation_step", slow)
    page = open_page(width=390, height=844, dark=True)
    go_to_tab(page, "Training")
    page.locator("#train-epochs input[type=number]").fill("20")
    page.locator("#train-epochs input[type=number]").blur()
    page.locator("#train-run").click()
    expect(page.locator("#train-words")).to_contain_text("of 20", timeout=PATIENCE)
    page.locator("#train-stop").click()
    expect(page.locator("#train-words")).to_contain_text("Stopped after", timeout=PATIENCE)
    going.set()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
