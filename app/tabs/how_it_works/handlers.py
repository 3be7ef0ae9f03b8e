"""Between the How it works tab and its service: raw component values in, ready HTML out, errors as toasts."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app.tabs.how_it_works.html import families_html, figure_html, glossary_html, part_html
from app.tabs.how_it_works.service import Learning
from app.ui.events import event_data, toasts
from app.ui.glossary import search_terms

FIRST = ("scicevpr", "T", 4)
FIRST_PART = "encoder"
"""What the page shows at first; the encoder is where the families part."""


class LearnHandlers:
    """The events of the How it works tab and its endpoint."""

    def __init__(self, learning: Learning) -> None:
        self.learning = learning

    def waiting(self) -> tuple[str, str, str]:
        """Values for (figure, part, families) before the first visit: no model is run while the page is built."""
        outline = self.learning.outline(*FIRST)
        explained = self.learning.explain(outline, FIRST_PART)
        return figure_html(outline, FIRST_PART), part_html(outline, explained), families_html(FIRST[1], FIRST[0])

    @toasts
    def show(self, family: Any, size: Any, photos: Any, part: Any) -> tuple[str, str, str]:
        """Values for (figure, part, families)."""
        walked = self.learning.walk(family, size, photos)
        explained = self.learning.explain(walked, part)
        return figure_html(walked, part), part_html(walked, explained), families_html(size, family)

    @toasts
    def picked(self, family: Any, size: Any, photos: Any, event: gr.EventData) -> tuple[str, str]:
        """Values for (chosen part, its explanation) after a part of the figure was chosen."""
        key = str(event_data(event).get("part") or "")
        walked = self.learning.walk(family, size, photos)
        return key, part_html(walked, self.learning.explain(walked, key))

    @toasts
    def terms(self, text: Any) -> str:
        """The glossary, or the part of it that was asked for."""
        return glossary_html(search_terms(str(text or "")), str(text or ""))

    @toasts
    def api_architecture(self, family: Any = "scicevpr", size: Any = "T", photos: Any = 1) -> dict[str, Any]:
        """The parts of a model: what each does, formula, shapes of its tensors, learned numbers, files.

        Args:
            family: "scicevpr", "super-cricavpr" or "cricavpr".
            size: "T", "S", "B" or "L".
            photos: how many photos share the batch, 1 to 32.

        Returns:
            The model's name, its learned numbers, and its parts in order, each with formula, tensors and code.
        """
        walked = self.learning.walk(family, size, photos)
        explained = [self.learning.explain(walked, key) for key in walked.tensors]
        return {
            "model": walked.variant.title,
            "photos": walked.photos,
            "learned": walked.total,
            "parts": [
                {
                    "part": part.part.title,
                    "what": part.what,
                    "formula": part.formula,
                    "tensors": [{"what": what, "shape": list(shape)} for what, shape in part.tensors],
                    "learned": part.learned,
                    "code": [f"{code.path}: {code.name}" for code in part.code],
                }
                for part in explained
                if part.present
            ],
        }
