"""The tabs of the page, one module each: build(services) lays the tab out and wires what happens inside it."""

from __future__ import annotations
