"""MCP: the named endpoints as tools for language models, where gradio's extra for it is installed."""

from __future__ import annotations

import logging
from importlib.util import find_spec

logger = logging.getLogger(__name__)

WITHOUT = "The page runs without MCP tools: the package mcp is not installed. To have them: pip install 'gradio[mcp]'."


def mcp_is_here() -> bool:
    """Whether launch(mcp_server=True) can work; the log says why not."""
    if find_spec("mcp") is not None:
        return True
    logger.info(WITHOUT)
    return False
