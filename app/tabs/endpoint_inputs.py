"""Hidden inputs of the named endpoints, where the page's own control offers less than the endpoint takes: a program, or
an MCP client, is held to what its input says it takes."""

from __future__ import annotations

import gradio as gr

from app.core.services import Services


def database_input(services: Services) -> gr.Textbox:
    """The name of a database as text, because databases come and go while the page runs; the first one at the start
    is the default."""
    return gr.Textbox(next(iter(services.datasets), ""), label="Database", visible=False)


def count_input(label: str, value: int, low: int, high: int) -> gr.Slider:
    """A whole number from low to high."""
    return gr.Slider(low, high, value=value, step=1, label=label, visible=False)


def text_input(label: str, value: str = "") -> gr.Textbox:
    """A word or a list of words."""
    return gr.Textbox(value, label=label, visible=False)
