"""What the tabs share: events, pieces of HTML, the photo picker, links, the tour, looks and the glossary."""

from __future__ import annotations
