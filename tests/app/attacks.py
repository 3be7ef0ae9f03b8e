"""Every event of a page, called with paths that are none of its business: what leaves, and how it is found."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from gradio.helpers import EventData
from gradio.state_holder import SessionState
from gradio.utils import get_upload_folder
from PIL import Image
from wire import finished

MARK = "not-for-visitors-7f3a91"
COLOUR = (255, 0, 255)
META = {"meta": {"_type": "gradio.FileData"}}
MOST_CHUNKS = 3
WORDS = ("", "find", "inside")
"""What the other texts of an event hold while one is crafted: a hidden text may say what becomes of another."""


@dataclass(frozen=True)
class Secrets:
    """Files of the server that no visitor may get, each with MARK in its bytes; the photo is of one colour as well."""

    photo: Path
    text: Path
    result: Path

    def __iter__(self) -> Iterator[Path]:
        return iter((self.photo, self.text, self.result))


def write_secrets(folder: Path) -> Secrets:
    """The files, in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    secrets = Secrets(folder / "secret.png", folder / "secret.txt", folder / "secret.json")
    Image.new("RGB", (64, 48), COLOUR).save(secrets.photo)
    with secrets.photo.open("ab") as file:
        file.write(MARK.encode())
    secrets.text.write_text(MARK)
    secrets.result.write_text(json.dumps({"results": MARK}))
    return secrets


def leaks(page: gr.Blocks, secrets: Secrets, upload: Path, words: tuple[str, ...] = WORDS) -> tuple[list[str], int]:
    """What left that must not, by event, and how many events were called. upload: a photo that was uploaded."""
    found, called, state = [], 0, SessionState(page)
    for dependency in page.config["dependencies"]:
        fn = page.fns[dependency["id"]]
        if fn.fn is None:
            continue
        called += 1
        for data in crafted(fn, secrets, upload, words):
            for answer in finished(answers(page, fn, data, secrets, state)):
                if why := external(answer):
                    found.append(f"{fn.api_name or fn.fn} ({dependency['id']}): {why} for {str(data)[:300]}")
        if told := finished(oracle(page, fn, secrets, state)):
            found.append(f"{fn.api_name or fn.fn} ({dependency['id']}): {told}")
    for file in cached():
        if MARK.encode() in file.read_bytes():
            found.append(f"{file.name} was copied into the cache")
            file.unlink()
    return found, called


async def oracle(page: gr.Blocks, fn: Any, secrets: Secrets, state: SessionState) -> str:
    """Why an event says whether there is a file, and what it looks like, or nothing: it must answer as if there was
    none, also where no bytes of it leave."""
    photos = [at for at, block in enumerate(fn.inputs) if isinstance(block, gr.Image)]
    base = [getattr(block, "value", None) if not block.stateful else None for block in fn.inputs]
    said = []
    for path in (secrets.photo, secrets.photo.with_name("absent.png")) if photos else ():
        data = [{"path": str(path)} if at in photos else value for at, value in enumerate(base)]
        given = await answers(page, fn, data, secrets, state)
        said.append([text.replace(path.name, "") for text in given])
    return "" if said[:1] == said[1:] else f"a file that is there is told from one that is not: {str(said)[:300]}"


async def answers(page: gr.Blocks, fn: Any, data: list, secrets: Secrets, state: SessionState) -> list[str]:
    """What an event gives for this data, as the text that would go over the wire."""
    chosen = {"index": 0, "value": str(secrets.photo), "row": 0, "to": "find", "part": str(secrets.text)}
    event = EventData(None, chosen)
    request = gr.Request(None, None, session_hash="attacker")
    iterator, given = None, []
    for _ in range(MOST_CHUNKS):
        try:
            result = await page.process_api(
                fn, data, state=state, request=request, iterator=iterator, event_data=event, in_event_listener=True
            )
        except Exception as error:  # what the client is told
            return [*given, str(getattr(error, "message", error))]
        given.append(json.dumps(result["data"], default=str))
        iterator = result.get("iterator")
        if not result.get("is_generating"):
            break
    if hasattr(iterator, "aclose"):
        async with aclosing(iterator):
            pass
    return given


def crafted(fn: Any, secrets: Secrets, upload: Path, words: tuple[str, ...]) -> Iterator[list]:
    """Values for an event: every input crafted at once, then one after another."""
    base = [getattr(block, "value", None) if not block.stateful else None for block in fn.inputs]
    base = [value if isinstance(value, (str, int, float, bool, list, type(None))) else None for value in base]
    yield [next(forms(block, secrets)) for block in fn.inputs]
    photos = [at for at, block in enumerate(fn.inputs) if isinstance(block, gr.Image)]
    texts = [at for at, block in enumerate(fn.inputs) if type(block) is gr.Textbox]
    for at, block in enumerate(fn.inputs):
        for form in forms(block, secrets):
            for word in words if at in texts and len(texts) > 1 else (None,):
                data = [*base]
                for other in texts if word is not None else ():
                    data[other] = word
                data[at] = form
                yield data
        if photos and at in texts:
            data = [*base]
            data[photos[0]], data[at] = {"path": str(upload), "orig_name": upload.name, **META}, str(secrets.photo)
            yield data


def forms(block: Any, secrets: Secrets) -> Iterator[Any]:
    """Crafted values for a component."""
    if isinstance(block, gr.Image):
        yield {"path": str(secrets.photo)}
        yield {"path": str(secrets.photo), "orig_name": "mine.png", **META}
        yield {"path": str(secrets.photo.parent / ".." / secrets.photo.parent.name / secrets.photo.name)}
        return
    if isinstance(block, (gr.File, gr.JSON)):
        yield [{"path": str(path), "orig_name": path.name} for path in secrets]
        yield [{"path": str(path), "orig_name": path.name, **META} for path in secrets]
        yield {"path": str(secrets.result), "orig_name": "mine.json", **META}
        return
    yield [str(secrets.photo)] if isinstance(block, gr.CheckboxGroup) else str(secrets.photo)


def external(text: str) -> str:
    """Why an answer must not have left, or nothing: a secret's bytes in it, or in a file or picture that it names."""
    if MARK in text:
        return "bytes of a secret"
    for picture in re.findall(r"data:image/[a-z+]+;base64,([A-Za-z0-9+/=]+)", text):
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB"), dtype=int)
        if (np.abs(pixels - COLOUR).max(axis=2) < 40).mean() > 0.2:
            return "a picture of a secret"
    for path in set(re.findall(r'"path": "((?:[^"\\]|\\.)+)"', text)):
        file = Path(json.loads(f'"{path}"'))
        if file.is_file() and MARK.encode() in file.read_bytes():
            return "a file with bytes of a secret"
    return ""


def cached() -> list[Path]:
    """All files that gradio would serve."""
    return [file for file in Path(get_upload_folder()).rglob("*") if file.is_file()]
