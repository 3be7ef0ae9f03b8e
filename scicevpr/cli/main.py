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
    datasets,
    evaluate,
    explain,
    figure,
    index,
    installation,
    milvus,
    pack,
    search,
    stability,
    train,
    weights,
)
from scicevpr.errors import SciceVPRError

ERROR, STOPPED = 2, 130
COMMANDS = (evaluate, search, installation, explain, stability, figure, datasets, pack, index, milvus, weights, train)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit code: 0, 1 (a check found something), 2 (an error), 130 (stopped)."""
    arguments = build_parser().parse_args(argv)
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
    return parser
