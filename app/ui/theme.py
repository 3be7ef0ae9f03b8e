"""The looks of the page, and the styles and scripts of all tabs, each from the folder that it belongs to."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

APP = Path(__file__).resolve().parents[1]
STYLES = sorted(APP.glob("ui/*.css")) + sorted(APP.glob("tabs/*/*.css"))
PAGE_SCRIPTS = [
    *(APP / "ui" / f"{name}.js" for name in ("lightbox", "links", "selection", "tour")),
    APP / "tabs/inside/stepper.js",
]
"""Of the whole page; scripts of a single component go with it."""
CHOOSE_PART = (APP / "ui" / "choose_part.js").read_text(encoding="utf-8")
"""Of a drawing whose parts can be chosen."""
FAVICON = APP / "ui" / "logo.svg"


READABLE = {
    "body_text_color_subdued": "*neutral_600",
    "body_text_color_subdued_dark": "*neutral_300",
    "block_info_text_color": "*neutral_600",
    "block_info_text_color_dark": "*neutral_300",
    "block_label_text_color": "*neutral_600",
    "block_label_text_color_dark": "*neutral_200",
    "block_title_text_color": "*neutral_600",
    "block_title_text_color_dark": "*neutral_200",
    "input_placeholder_color": "*neutral_500",
    "input_placeholder_color_dark": "*neutral_400",
    "button_primary_background_fill": "*primary_600",
    "button_primary_background_fill_dark": "*primary_600",
    "button_primary_background_fill_hover": "*primary_700",
    "button_primary_background_fill_hover_dark": "*primary_700",
    "button_cancel_background_fill": "#b91c1c",
    "button_cancel_background_fill_dark": "#b91c1c",
    "button_cancel_background_fill_hover": "#991b1b",
    "button_cancel_background_fill_hover_dark": "#991b1b",
    "button_cancel_text_color": "white",
    "button_cancel_text_color_dark": "white",
    "link_text_color": "*primary_700",
    "link_text_color_dark": "*primary_300",
}
"""Texts and buttons that gradio's theme draws too faintly: 4.5:1 and more on their grounds (WCAG AA)."""


def page_head() -> str:
    """The scripts of the whole page."""
    return "".join(f"<script>{path.read_text(encoding='utf-8')}</script>" for path in PAGE_SCRIPTS)


def theme() -> gr.themes.Base:
    """The looks: blue for the visitor's own photo (orange is kept for "one batch"), fonts shipped with gradio.

    Of Source Sans Pro gradio ships regular and bold whole; its semi-bold file holds a few letters only.
    """
    return gr.themes.Default(
        primary_hue=gr.themes.colors.blue,
        secondary_hue=gr.themes.colors.slate,
        neutral_hue=gr.themes.colors.slate,
        radius_size=gr.themes.sizes.radius_lg,
        font=[gr.themes.LocalFont("Source Sans Pro", weights=(400, 700)), "ui-sans-serif", "system-ui", "sans-serif"],
        font_mono=[gr.themes.LocalFont("IBM Plex Mono", weights=(400,)), "ui-monospace", "Consolas", "monospace"],
    ).set(**READABLE)
