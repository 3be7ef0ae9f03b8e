"""The `scicevpr` command. What can be asked for stands in scicevpr.parsers, what is done about it in scicevpr.commands.

Nothing heavy is imported before the options are read, so that `scicevpr --help` answers at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from scicevpr import __version__
from scicevpr.errors import SciceVPRError
from scicevpr.parsers import basic, datasets, figures, index, inside, milvus, packs, precision, scoring, weights

EXIT_MISS = 1
EXIT_ERROR = 2
EXIT_STOPPED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit code: 0, 1 (verify found a miss), 2 (an error), 130 (stopped)."""
    arguments = build_parser().parse_args(argv)
    try:
        return _run(arguments)
    except SciceVPRError as error:
        return _fail(error)
    except OSError as error:
        if isinstance(error, BrokenPipeError):  # the reader of our output has closed it, as `head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        return _fail(error)
    except KeyboardInterrupt:
        print("scicevpr: stopped.", file=sys.stderr)
        return EXIT_STOPPED


def _run(arguments: argparse.Namespace) -> int:
    module, _, function = arguments.handler.partition(".")
    return getattr(import_module(f"scicevpr.commands.{module}"), function)(arguments)


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="scicevpr",
        description="Visual place recognition with SciceVPR and CricaVPR: describe, search, evaluate, explain.",
    )
    parser.add_argument("--version", action="version", version=f"scicevpr {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for group in (basic, inside, figures, scoring, datasets, packs, index, milvus, weights, precision):
        group.add(commands)
    return parser


def _fail(error: Exception) -> int:
    print("scicevpr: error: " + " ".join(str(error).split()), file=sys.stderr)
    return EXIT_ERROR
