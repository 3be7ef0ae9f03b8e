"""The page as gradio serves it, with what every event and every request of it has in common.

What arrives is checked before a handler sees it, what leaves is checked before gradio copies it, errors leave as our
sentences, and the server starts behind `app.gate`. Handlers stand on their own all the same: each reads files through
`app.core.incoming` only, and `guarded = False` switches the checks here off, so that a test can see it.
"""

from __future__ import annotations

import ipaddress
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.exceptions import InvalidPathError
from pydantic import ValidationError
from starlette.middleware import Middleware

from app.core.databases import Databases
from app.core.incoming import REFUSED, check_paths, check_texts
from app.core.limits import KEPT_S
from app.core.outgoing import ServerFile
from app.core.upload_cache import Upkeep, UploadCache, upload_folder
from app.gate import Gate, Rules
from app.mcp_answers import answer_in_json
from app.ui.events import OUR_FAULT, toast
from scicevpr.errors import SciceVPRError

logger = logging.getLogger(__name__)

WRONG_KIND = (
    "A value of this question is of another kind than its field takes: a file is sent as an object with path and meta, "
    "files as a list of them. docs/api.md shows how."
)
FILE_COMPONENTS = (gr.Image, gr.Gallery, gr.File, gr.DownloadButton, gr.UploadButton, gr.Video, gr.Audio)
SWEEP_S = 300
LOOPBACK_NAMES = ("localhost",)


class StudioPage(gr.Blocks):
    """gr.Blocks whose events take and give checked files only.

    databases: whose listed photos may be asked about. when_shared: called when the page is about to be served to
    others than this machine.
    """

    def __init__(self, databases: Databases, when_shared: Callable[[], None] | None = None, **options: Any) -> None:
        super().__init__(delete_cache=(SWEEP_S, int(KEPT_S)), **options)
        self.databases = databases
        self.when_shared = when_shared
        self.guarded = True
        self.rules = Rules(self)
        self.upkeep: Upkeep | None = None

    def keep_up(self, end_old: Callable[[], None], folders: Callable[[], list[Path]]) -> None:
        """Have visits end by age and the upload cache stay within its limits, from the launch on. folders: of visits,
        which stay until the visit ends."""
        cache = UploadCache(lambda: [*folders(), *self._shown_files()])
        self.rules.has_room = cache.has_room
        self.upkeep = Upkeep((end_old, cache.sweep, self._forget_lost_files))

    def _shown_files(self) -> list[Path]:
        """What the page itself shows from the beginning on: entries of the upload cache."""
        base = upload_folder()
        files = (Path(file) for block in self.blocks.values() for file in block.keep_in_cache)
        return [base / file.relative_to(base).parts[0] for file in files if file.is_relative_to(base)]

    def _forget_lost_files(self) -> None:
        """gradio notes every file there ever was; those that are gone need no note."""
        for noted in self.temp_file_sets:
            for file in [file for file in list(noted) if not os.path.exists(file)]:
                noted.discard(file)

    async def preprocess_data(self, block_fn: Any, inputs: list, state: Any, explicit_call: bool = False) -> list:
        """gradio's, after every file that the inputs name was found to be one that may be opened."""
        if self.guarded:
            if len(inputs) < len(block_fn.inputs):
                words = f"This question has {len(block_fn.inputs)} values, and {len(inputs)} were sent."
                raise toast(words, plain=is_endpoint(block_fn))
            try:
                check_paths(inputs, self.databases)
                check_texts(inputs)
            except SciceVPRError as error:
                raise toast(str(error), plain=is_endpoint(block_fn)) from error
        return await super().preprocess_data(block_fn, inputs, state, explicit_call)

    async def postprocess_data(self, block_fn: Any, predictions: Any, state: Any) -> list:
        """gradio's, after every file that a handler gave was found to be one that the server made."""
        if self.guarded:
            values = [predictions] if len(block_fn.outputs) == 1 else predictions
            if isinstance(values, (list, tuple)):
                for block, value in zip(block_fn.outputs, values, strict=False):
                    if isinstance(block, FILE_COMPONENTS):
                        check_outgoing(value)
        return await super().postprocess_data(block_fn, predictions, state)

    async def process_api(self, block_fn: Any, *values: Any, **named: Any) -> dict[str, Any]:
        """gradio's; whatever goes wrong leaves as a sentence of ours, without paths of this machine."""
        plain = is_endpoint(block_fn)
        try:
            return await super().process_api(block_fn, *values, **named)
        except gr.Error:
            raise
        except InvalidPathError as error:
            raise toast(REFUSED, plain) from error
        except ValidationError as error:
            raise toast(WRONG_KIND, plain) from error
        except Exception as error:
            logger.exception("unexpected error outside the handlers")
            raise toast(OUR_FAULT, plain) from error

    def launch(self, *values: Any, **options: Any) -> Any:
        """gradio's, behind the gate, not shared unless asked for, and however slow the machine.

        Served to others than this machine, the page is locked first.
        """
        options.setdefault("share", asked_to_share())
        options.setdefault("ssr_mode", False)
        options.setdefault("num_workers", 0)  # helpers of gradio serve files beside the gate
        options.setdefault("run_history", False)  # visitors' questions and answers are not collected
        options.setdefault("_frontend", False)  # gradio gives its own page 3 seconds to answer, or ends the program
        named = options.get("server_name") or os.environ.get("GRADIO_SERVER_NAME")
        options["server_name"] = named or "127.0.0.1"  # said, because gradio keeps what stood there at its import
        if options["share"] or not is_loopback(options["server_name"]):
            self.rules.shared = True
            if self.when_shared is not None:
                self.when_shared()
        if self.upkeep is not None:
            self.upkeep.start()
        middleware = [Middleware(Gate, rules=self.rules)]
        options["app_kwargs"] = {**(options.get("app_kwargs") or {}), "middleware": middleware}
        served = super().launch(*values, **options)
        if self.mcp_server_obj is not None:
            answer_in_json(self.mcp_server_obj)
        return served

    def close(self, *values: Any, **options: Any) -> None:
        """gradio's; the upkeep ends too."""
        if self.upkeep is not None:
            self.upkeep.stop()
        super().close(*values, **options)


def is_endpoint(block_fn: Any) -> bool:
    """True for what programs ask by name; everything else is an event of the page, which shows errors as HTML."""
    return getattr(block_fn, "api_visibility", None) == "public"


def check_outgoing(value: Any) -> None:
    """Refuse anything in a file component's value that is not a file which the server made. Raises ValueError."""
    for file in _files(value):
        if not isinstance(file, ServerFile):
            raise ValueError(f"a handler gave a {type(file).__name__} where only files made by the server may leave")


def _files(value: Any) -> Iterator[Any]:
    if isinstance(value, gr.blocks.Block):
        value = value.constructor_args.get("value")
    if isinstance(value, dict):
        if value.get("__type__") != "update":
            yield value
            return
        value = value.get("value")
    items: Iterable = value if isinstance(value, (list, tuple)) else [value]
    for item in items:
        file = item[0] if isinstance(item, (list, tuple)) and item else item
        if isinstance(file, (str, Path, dict)):
            yield file


def asked_to_share() -> bool:
    """Whether a public address was asked for by gradio's own variable."""
    return os.environ.get("GRADIO_SHARE", "").lower() == "true"


def is_loopback(host: str | None) -> bool:
    """True for an address that only this machine reaches; None is gradio's own, 127.0.0.1."""
    if host is None or host.lower() in LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
