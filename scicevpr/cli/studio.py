"""app: the page. And the way to `app` and `training`, which lie inside the package that pip installed, or beside it."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

from scicevpr.errors import UsageError

PACKAGE = Path(__file__).resolve().parents[1]


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "app",
        help="open the page: SciceVPR Studio in the browser (its options: scicevpr app --help)",
        prefix_chars="\0",  # its options are read by app.start: here every word is a plain one
        add_help=False,
    )
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    parser.set_defaults(run=app)


def app(arguments: argparse.Namespace) -> int:
    """Serve the page until it is stopped."""
    import_studio("app.environment", "app").prepare()  # before gradio is imported
    import_studio("app.start", "app").main(arguments.arguments, program="scicevpr app")
    return 0


def studio_folder() -> Path:
    """The folder that holds `app` and `training`: scicevpr/studio where pip put them, else the checkout."""
    inside = PACKAGE / "studio"
    return inside if inside.is_dir() else PACKAGE.parent


def import_studio(module: str, extra: str) -> ModuleType:
    """A module of `app` or `training`, which import each other by these names: their folder goes first on sys.path.

    extra: what to install where a package is missing. Raises UsageError when they are not here, when a package they
    need is not, or when this process has imported another package of that name.
    """
    folder, top = studio_folder(), module.partition(".")[0]
    if not (folder / top).is_dir():
        raise UsageError(
            f"This installation of scicevpr has no {top!r}. Install it whole: pip install 'scicevpr[{extra}]'"
        )
    if str(folder) not in sys.path[:1]:
        sys.path.insert(0, str(folder))
    found = import_module(top)
    places = [Path(place).resolve() for place in found.__path__] if hasattr(found, "__path__") else []
    if folder / top not in places:
        raise UsageError(
            f"Another {top!r} ({getattr(found, '__file__', None) or places}) was imported before scicevpr's. Run the "
            "`scicevpr` command in a process of its own."
        )
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("app", "training", "scicevpr"):
            raise
        raise UsageError(
            f"`scicevpr {extra}` needs the package {error.name}: pip install 'scicevpr[{extra}]'"
        ) from error
