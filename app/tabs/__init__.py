"""The tabs of the page, a folder each: layout (what stands where, its link fields and endpoints), handlers (values in
and out of the page), service (what it does, without gradio), html, and its script and drawings.

A layout has ID, TITLE, build(tab, ...) and, where an address keeps its choices, LINK.
"""

from __future__ import annotations
