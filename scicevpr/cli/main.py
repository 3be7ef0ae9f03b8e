"""The `scicevpr` command: its commands, and how errors end them.

Nothing heavy is imported before the options are read, so that `scicevpr --help` answers at once: what a command needs,
it imports when it runs.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from scicevpr import __version__
from scicevpr.cli import (
    audit,
    datasets,
    evaluate,
    explain,
    figure,
    help,
    index,
    installation,
    milvus,
    occlude,
    pack,
    rerank,
    search,
    space,
    stability,
    studio,
    train,
    trust,
    weights,
)
from scicevpr.errors import SciceVPRError

ERROR, STOPPED = 2, 130
COMMANDS = (
    evaluate,
    search,
    studio,
    installation,
    explain,
    stability,
    figure,
    datasets,
    pack,
    index,
    milvus,
    weights,
    train,
    rerank,
    trust,
    audit,
    occlude,
    space,
    help,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit code: 0, 1 (a check found something), 2 (an error), 130 (stopped)."""
    given = sys.argv[1:] if argv is None else list(argv)
    if unnamed := next((text for text in given if any("\ud800" <= sign <= "\udfff" for sign in text)), None):
        print(f"scicevpr: error: {unnamed!a} is not UTF-8. Rename the file or folder.", file=sys.stderr)
        return ERROR
    arguments = build_parser().parse_args(given)
    help.apply(arguments)
    try:
        return arguments.run(arguments)
    except BrokenPipeError:  # the reader of our output has closed it, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (SciceVPRError, OSError) as error:
        print("scicevpr: error: " + " ".join(str(error).split()), file=sys.stderr)
        return ERROR
    except KeyboardInterrupt:
        print("scicevpr: stopped.", file=sys.stderr)
        return STOPPED


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="scicevpr",
        description="Visual place recognition with SciceVPR and CricaVPR: describe, search, evaluate, explain.",
    )
    parser.add_argument("--version", action="version", version=f"scicevpr {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(commands)
    help.finish(parser)
    return parser
