"""SciceVPR Studio: the web app around the scicevpr library.

Layers, from the bottom: records (frozen results) -> store (descriptors of databases) -> services (no web server) ->
handlers (values <-> components, errors -> toasts) -> components and tabs (layout) -> build (the page) -> start (command
line). Each layer knows only those before it. Around them: limits (every number), incoming and outgoing (files),
page and gate (what every event and every request has in common), upkeep (what goes by age).
"""

from __future__ import annotations
