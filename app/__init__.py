"""SciceVPR Studio: the web app around the scicevpr library.

core (models, databases, the search, files in and out; no gradio) -> ui (what tabs share) -> tabs (a folder each:
service, html, handlers, layout) -> build (all tabs on one page) -> start (the command line). Each knows only those
before it. Beside them page and gate: what every event and every request has in common.
"""

from __future__ import annotations
