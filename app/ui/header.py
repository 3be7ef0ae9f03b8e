"""The head of the page and its notices."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from starlette.requests import Request
from starlette.responses import PlainTextResponse

from app.core.model_slots import ModelState
from app.ui.html import banner_html, escape
from app.ui.tour import start_html

PAPER = "https://arxiv.org/abs/2502.20676"
BASELINE_PAPER = "https://arxiv.org/abs/2402.19231"
TRAINING_ROUTE = "studio/training"
TRAINING = Path(__file__).resolve().parents[2] / "training" / "README.md"
LOGO = Path(__file__).with_name("logo.svg")
MISSING_ADVICE = (
    "Put its weights into assets/weights (the training package makes them), or start the app with --allow-untrained "
    "just to look at the page."
)
COPY_LINK = (
    '<span class="masthead__copy"><button type="button" data-copy-link title="The address of this tab with what is '
    'chosen in it. Your own photos and places are not part of it.">Copy link</button>'
    '<span class="masthead__told" role="status" data-link-told></span></span>'
)


def training_link() -> str | None:
    """Where the training package can be read: on a Space its folder, elsewhere its README served by the app."""
    space = os.environ.get("SPACE_ID")
    if space:
        return f"https://huggingface.co/spaces/{space}/tree/main/training"
    return TRAINING_ROUTE if TRAINING.is_file() else None


def training_page(request: Request) -> PlainTextResponse:
    """The training package's README; the words that it is missing where it is."""
    known = TRAINING.is_file()
    text = TRAINING.read_text(encoding="utf-8") if known else "The training package is not here."
    return PlainTextResponse(text, 200 if known else 404)


def header_html() -> str:
    """Name, one sentence, links."""
    logo = LOGO.read_text(encoding="utf-8")
    links = [("Paper", PAPER), ("Baseline paper", BASELINE_PAPER), ("Training package", training_link())]
    items = "".join(
        f'<a href="{escape(target)}" target="_blank" rel="noopener">{escape(text)}</a>'
        for text, target in links
        if target
    )
    return (
        f'<header class="masthead"><div class="masthead__logo" aria-hidden="true">{logo}</div>'
        '<div class="masthead__text"><h1>SciceVPR Studio</h1><p>Where was this photo taken? '
        "Two models search a city for the same place, and you see who is right.</p></div>"
        f'<nav class="masthead__links" aria-label="Links">{items}{start_html()}{COPY_LINK}</nav></header>'
    )


def notice_html(states: Sequence[ModelState], problems: Sequence[str] = (), warm: bool = True) -> str:
    """Banners for the state of the models: warming up, missing or untrained; empty when all is well."""
    banners = [
        banner_html("alarm", f"{state.title} cannot be used.", f"{state.message} {MISSING_ADVICE}")
        for state in states
        if state.state == "missing"
    ]
    untrained = [state.title for state in states if state.state == "ready" and not state.trained]
    if untrained:
        who = " and ".join(untrained) + (" runs" if len(untrained) == 1 else " run")
        words = f"{who} with random numbers: the page works, its answers mean nothing."
        banners.append(banner_html("alarm", "Untrained weights.", words))
    banners += [banner_html("alarm", "A database is missing.", problem) for problem in problems]
    if not warm and any(state.state == "waiting" for state in states):
        words = "The models are being loaded; you can pick a photo already."
        banners.append(banner_html("quiet", "Warming up.", words))
    return "".join(banners)
