"""The processes of a run: alone, or started by ``torchrun``; what they exchange, and how an error ends them all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from scicevpr.errors import SciceVPRError, UsageError
from scicevpr.models.devices import AUTO, choose_device

LESS_MEMORY = (
    "Hold fewer chunks at once (--accumulate 1), use --precision bf16, or, both of which change the recipe, a smaller "
    "--cross_image_chunk or --train_batch_size."
)
PATIENCE = timedelta(hours=6)
"""How long processes wait for each other: the first one validates while the others wait."""


@dataclass(frozen=True)
class Processes:
    """This process among ``count``: the one with number 0 logs, validates and saves."""

    device: torch.device
    number: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """True for the process that logs, validates and saves."""
        return self.number == 0

    def share(self, chunks: int, number: int | None = None) -> range:
        """The chunks of a batch that this process (or the one called ``number``) takes: neighbours, in order. Raises
        UsageError: they cannot be dealt evenly."""
        if chunks % self.count:
            raise UsageError(
                f"A batch of {chunks} cross-image chunk{'s' * (chunks != 1)} cannot be dealt evenly to {self.count} "
                f"processes. Start a number of processes that divides {chunks}, or change --train_batch_size or "
                "--cross_image_chunk (which changes the recipe)."
            )
        each = chunks // self.count
        number = self.number if number is None else number
        return range(number * each, (number + 1) * each)

    def gather_rows(self, own: Tensor, counts: Sequence[int]) -> Tensor:
        """The rows of all processes, [sum of counts, ...], in the order of the processes, each with its count of rows;
        no gradient passes."""
        if self.count == 1:
            return own
        padded = own.new_zeros(max(counts), *own.shape[1:])
        padded[: len(own)] = own
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    def own_rows(self, everything: Tensor, counts: Sequence[int]) -> Tensor:
        """This process's part of gathered rows."""
        return everything.split(list(counts))[self.number]

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replace the gradients by their sums over all processes."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        if self.count > 1 and gradients:
            flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
            dist.all_reduce(flat)
            for gradient, total in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
                gradient.copy_(total.view_as(gradient))

    def take_from_first(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite tensors with those of the first process."""
        if self.count > 1:
            with torch.no_grad():
                for tensor in tensors:
                    dist.broadcast(tensor, src=0)

    def any(self, flag: bool) -> bool:
        """True everywhere if it is true in one process."""
        if self.count == 1:
            return flag
        total = torch.tensor([int(flag)], device=self.device)
        dist.all_reduce(total, op=dist.ReduceOp.MAX)
        return bool(total.item())

    @contextmanager
    def together(self) -> Iterator[None]:
        """Run a block in which no process waits for another; an error of one ends all of them with its message. Raises
        SciceVPRError: the error of this process, or what another one said."""
        error: Exception | None = None
        try:
            yield
        except (SciceVPRError, OSError) as caught:
            error = caught
        except torch.OutOfMemoryError as caught:
            error = UsageError(f"{self.device} has too little memory: {str(caught).splitlines()[0]} {LESS_MEMORY}")
        if not self.any(error is not None):
            return
        said: list[str | None] = [None if error is None else str(error)]
        if self.count > 1:
            said = said * self.count
            dist.all_gather_object(said, None if error is None else str(error))
        if error is not None:
            raise error
        number = next(i for i, text in enumerate(said) if text is not None)
        raise SciceVPRError(f"Process {number} of {self.count}: {said[number]}")


@contextmanager
def start_processes(device: str | None = None) -> Iterator[Processes]:
    """Join the processes that ``torchrun`` started (gloo on CPUs, NCCL on GPUs), or run alone. device: "cpu", "cuda" or
    "cuda:1"; None or "auto": a GPU if there is one. Raises UsageError: no such device."""
    count, number = (int(os.environ.get(name, default)) for name, default in (("WORLD_SIZE", "1"), ("RANK", "0")))
    chosen = _device(device)
    if count == 1:
        yield Processes(chosen)
        return
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield Processes(chosen, number, count)
    finally:
        dist.destroy_process_group()


def _device(name: str | None) -> torch.device:
    """The named device; of several processes on a machine, each takes its own GPU."""
    asked = str(name or AUTO)
    if not (asked.startswith("cuda") or (asked == AUTO and torch.cuda.is_available())):
        return choose_device(name)
    beside, here = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
    number = int(asked.partition(":")[2] or 0) if beside == 1 else int(os.environ["LOCAL_RANK"])
    if max(number + 1, beside) > here:  # the same in all processes, so that the first one says it
        raise UsageError(
            f"{max(number + 1, beside)} GPUs were asked for; this machine has {here}. Use --device cpu, or start fewer "
            "processes."
        )
    torch.cuda.set_device(number)
    return torch.device("cuda", number)
