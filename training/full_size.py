"""CricaVPR, Super-CricaVPR and SciceVPR at sizes S, B and L on GSV-Cities, by the published recipe.

    python -m training.full_size --model super-cricavpr-b --data gsv-cities --foundation_model_path dinov2-b \\
        --val pitts30k --out runs/super-cricavpr-b --check
    torchrun --nproc_per_node 2 -m training.full_size ... the same without --check ...

With ``--check`` nothing is trained: data, model and validation set are verified, memory and time estimated.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from scicevpr.errors import SciceVPRError
from training.full_size_options import COMMAND, RunOptions, read_options
from training.recipes import FullSizeRecipe

if TYPE_CHECKING:
    from training.distributed import Processes

EXIT_WRONG = 2
EXIT_STOPPED = 130

log = logging.getLogger("training.full_size")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit code: 0, 2 (something is wrong), 130 (stopped by a signal)."""
    first = os.environ.get("RANK", "0") == "0"
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", stream=sys.stderr)
    logging.getLogger("training").setLevel(logging.INFO if first else logging.CRITICAL)
    try:
        recipe, options = read_options(sys.argv[1:] if argv is None else argv)
        return _start(recipe, options)
    except (SciceVPRError, OSError) as error:
        log.error("full_size: %s", error)
        return EXIT_WRONG
    except KeyboardInterrupt:
        log.error("full_size: stopped.")
        return EXIT_STOPPED


def _start(recipe: FullSizeRecipe, options: RunOptions) -> int:
    import torch

    from training.distributed import start_processes

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    with start_processes(options.device) as processes:
        if processes.device.type == "cuda":  # a resumed run shall go on exactly
            torch.use_deterministic_algorithms(True, warn_only=True)
            torch.backends.cudnn.benchmark = False
        if options.check:
            return _check(recipe, options, processes)
        return _train(recipe, options, processes)


def _check(recipe: FullSizeRecipe, options: RunOptions, processes: Processes) -> int:
    from scicevpr.cli.terminal import open_console, print_line
    from training.plan import check

    report = check(recipe, options, processes)
    if processes.first:
        print_line(open_console(), report.text())
    return 0 if report.right else EXIT_WRONG


def _train(recipe: FullSizeRecipe, options: RunOptions, processes: Processes) -> int:
    from training.full_parts import make_ready, open_reader
    from training.full_run import FullSizeRun
    from training.plan import cheap_check

    parts = make_ready(recipe, options, processes)
    cheap_check(parts, options, processes)
    reader, networks = open_reader(parts, options, processes)
    log.info(
        "%d steps an epoch, %d epochs; state and weights in %s", parts.plan.steps, parts.recipe.epochs, options.out
    )
    run = FullSizeRun(parts, options, processes, reader, networks)
    command = options.out / COMMAND
    if processes.first and not command.exists():
        command.parent.mkdir(parents=True, exist_ok=True)
        command.write_text(json.dumps(options.arguments), encoding="utf-8")  # for --resume_run
    if run.train():
        log.info("finished: %s", options.out / "best.safetensors")
        return 0
    log.info("stopped after step %d; the state is saved. The same command goes on from there.", run.step)
    return EXIT_STOPPED


if __name__ == "__main__":
    sys.exit(main())
