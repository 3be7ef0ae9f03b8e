"""Run the lessons without a browser: does every cell work, how long does it take, what does it draw?

One line a lesson with the seconds that it took. ``--figures`` writes the pictures of lessons/README.md, ``--output``
the notebooks with all their outputs.

    python lessons/run.py --figures
"""

from __future__ import annotations

import argparse
import base64
import io
import re
import time
from pathlib import Path

from PIL import Image

try:
    import nbformat
    from nbclient import NotebookClient
    from nbformat import NotebookNode
except ImportError as error:
    raise SystemExit(f"The lessons need {error.name}: pip install -e '.[lessons]'") from error

FOLDER = Path(__file__).resolve().parent
LESSONS = ("domain_shift", "batch_dependence", "distillation")
FIGURE = "figure"
"""Tag of the cell whose picture stands in README.md."""
PIXELS, COLOURS = 900, 64
LIMIT = 600
"""Seconds a cell may take."""


def execute(name: str, queries: int | None = None) -> NotebookNode:
    """A lesson with the outputs of all its cells; its file stays as it is. queries: instead of the QUERIES at its top.

    Raises nbclient's CellExecutionError where a cell fails.
    """
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    if queries is not None:
        first = next(cell for cell in notebook.cells if cell.cell_type == "code")
        first.source = re.sub(r"^QUERIES = \d+", f"QUERIES = {queries}", first.source)
    client = NotebookClient(notebook, timeout=LIMIT, kernel_name="python3", resources={"metadata": {"path": FOLDER}})
    return client.execute()


def pictures(notebook: NotebookNode, tag: str | None = None) -> list[Image.Image]:
    """The pictures that an executed lesson drew, in order; with a tag those of the cells that bear it."""
    cells = [cell for cell in notebook.cells if tag is None or tag in cell.metadata.get("tags", ())]
    shown = [output.get("data", {}) for cell in cells for output in cell.get("outputs", ())]
    files = [base64.b64decode(data["image/png"]) for data in shown if "image/png" in data]
    return [Image.open(io.BytesIO(file)).convert("RGB") for file in files]


def write_figure(notebook: NotebookNode, path: Path) -> None:
    """Write the lesson's figure as a small PNG of few colours."""
    picture = pictures(notebook, FIGURE)[0]
    if picture.width > PIXELS:
        picture = picture.resize((PIXELS, round(PIXELS * picture.height / picture.width)), Image.Resampling.LANCZOS)
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lessons", nargs="*", metavar="LESSON", help=f"which ones (default: {', '.join(LESSONS)})")
    parser.add_argument("--figures", action="store_true", help="write the figure of each lesson beside its notebook")
    parser.add_argument("--output", type=Path, help="folder for the notebooks with all their outputs")
    options = parser.parse_args()
    for name in options.lessons or LESSONS:
        started = time.perf_counter()
        notebook = execute(name)
        print(f"{name}: {time.perf_counter() - started:.1f} s")
        if options.figures:
            write_figure(notebook, FOLDER / f"{name}.png")
        if options.output:
            options.output.mkdir(parents=True, exist_ok=True)
            nbformat.write(notebook, options.output / f"{name}.ipynb")


if __name__ == "__main__":
    main()
