"""Answers of MCP tools as JSON: gradio writes Python's own notation into a text, which no program can read back.

Every tool answers with a JSON text and with the same value as `structuredContent`: objects as they are, everything else
under "result". Files stay what gradio makes of them, a picture and its address.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from types import MethodType
from typing import Any

from gradio.mcp import GradioMCPServer


def answer_in_json(server: GradioMCPServer) -> None:
    """Make the tools of a running page answer so."""
    from mcp.types import CallToolRequest

    server.postprocess_output_data = MethodType(_content, server)  # type: ignore[method-assign]  # of one server alone
    handlers = server.mcp_server.request_handlers
    handlers[CallToolRequest] = _structured(handlers[CallToolRequest])


def _content(server: GradioMCPServer, data: Any, root_url: str) -> list[Any]:
    """gradio's, but JSON for what is no file."""
    from mcp.types import TextContent

    found: list[Any] = []
    for answer in data:
        value = answer.model_dump() if hasattr(answer, "model_dump") else answer  # gradio's JsonData
        made = GradioMCPServer.postprocess_output_data(server, [value], root_url)
        if getattr(made[0], "text", None) == str(value) and not isinstance(value, str):
            made = [TextContent(type="text", text=json.dumps(value, ensure_ascii=False))]
        found += made
    return found


def _structured(handler: Callable[[Any], Awaitable[Any]]) -> Callable[[Any], Awaitable[Any]]:
    async def answer(request: Any) -> Any:
        made = await handler(request)
        result = made.root
        if not result.isError and result.structuredContent is None and len(result.content) == 1:
            value = _read(result.content[0])
            result.structuredContent = value if isinstance(value, dict) else {"result": value}
        return made

    return answer


def _read(content: Any) -> Any:
    """The value of a JSON text; any other text as it is."""
    text = getattr(content, "text", "")
    try:
        return json.loads(text)
    except ValueError:
        return text
