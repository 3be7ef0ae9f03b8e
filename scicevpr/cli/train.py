"""train: a model at full size, from a look at everything it needs to its best weights with their card."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from scicevpr.cli.outputs import print_note
from scicevpr.cli.studio import studio_folder
from scicevpr.errors import UsageError

PROGRAM = "training.full_size"
RESUME = {"--resume_run", "--resume-run"}
EPILOG = f"""All other options are those of the training package: see `scicevpr train --options`
(the same as `python -m {PROGRAM} --help`). First everything is checked (data, model, validation
set, memory, time, disk), then the run starts; with --check it does not. An interrupted run goes
on when the same command is given again, or `scicevpr train --resume_run DIR`, which checks nothing."""
OWN = argparse.ArgumentParser(
    prog="scicevpr train", usage="%(prog)s [--gpus N] [--skip_check] [--check] --model NAME --data DIR --out DIR ...",
    description="Train CricaVPR, Super-CricaVPR or SciceVPR on GSV-Cities by the published recipe.", epilog=EPILOG,
    formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
)  # fmt: skip
OWN.add_argument("--gpus", type=int, default=1, metavar="N", help="processes, one for each GPU (torchrun)")
OWN.add_argument("--skip_check", "--skip-check", action="store_true", help="start without looking first")
OWN.add_argument("--options", action="store_true", help="list the options of the training package")


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the command; what stands behind it is read by `OWN`, and the rest by the training package."""
    parser = commands.add_parser(
        "train", help="train a model at full size on GSV-Cities", prefix_chars="\0", add_help=False
    )
    parser.add_argument("words", nargs="*")
    parser.set_defaults(run=train)


def train(arguments: argparse.Namespace) -> int:
    """Check, then run; the exit code of whichever ended it."""
    own, words = OWN.parse_known_args(arguments.words)
    if not (studio_folder() / "training").is_dir():
        raise UsageError(
            "This installation of scicevpr has no training. Install it whole: pip install 'scicevpr[train]'"
        )
    if own.options:
        return _run([PROGRAM, "--help"])
    if own.gpus < 1:
        raise UsageError(f"--gpus {own.gpus}: at least one process is needed.")
    several = ["torch.distributed.run", "--standalone", "--nproc_per_node", str(own.gpus), "-m", PROGRAM]
    program = several if own.gpus > 1 else [PROGRAM]
    if not (own.skip_check or "--check" in words or RESUME & {word.partition("=")[0] for word in words}):
        print_note("First a look at everything the run needs (--skip_check leaves it out).")
        code = _run([*program, *words, "--check"])
        if code != 0:
            return code
    return _run([*program, *words])


def _run(words: Sequence[str]) -> int:
    """A Python module with its arguments, as a process of its own that gets our signals; its exit code."""
    path = os.pathsep.join([str(studio_folder()), *filter(None, [os.environ.get("PYTHONPATH")])])
    process = subprocess.Popen([sys.executable, "-m", *words], env={**os.environ, "PYTHONPATH": path})

    def pass_on(number: int, _: Any) -> None:
        if number != signal.SIGINT:  # a terminal sends Ctrl-C to both
            process.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return code if code >= 0 else 128 - code
