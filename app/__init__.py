"""SciceVPR Studio: the web app around the scicevpr library.

Layers, from the bottom: records (frozen results) -> store (descriptors of databases) -> services (no gradio) ->
handlers (values <-> components, errors -> toasts) -> components and tabs (layout) -> build (the whole page) -> start
(command line). Each layer knows only those before it.
"""

from __future__ import annotations
