"""What the page works with, without gradio: models, databases, descriptors, the search, files in and out, limits."""

from __future__ import annotations
