"""Pieces of the page as HTML: every text from outside is escaped, every picture has an alternative text."""

from __future__ import annotations
