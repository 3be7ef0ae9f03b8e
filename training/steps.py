"""One training step: the networks on a batch, the loss of every stage, and at full size its gradient chunk by chunk.

At full size a batch is cut into chunks, and the cross-image encoder attends within a chunk only. Chunks are dealt to
processes, and a process may hold the graphs of a few of its chunks at a time. Then it goes through them twice: once
without graphs for the descriptors, whose gradients the loss gives, and once more with graphs and the same random
numbers, to pass those gradients back (gradient caching, Gao et al., 2021). The result is the gradient of the whole
batch, whatever the number of processes and of chunks held at once.

CricaVPR's adapters normalise every chunk by its own statistics. The published runs (DataParallel) kept the running
statistics of their first replica only; likewise only chunk 0 of a batch updates them here, so they do not depend on the
number of processes either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scicevpr.errors import UsageError
from scicevpr.losses import distillation_loss, mine_pairs, multi_similarity_loss
from scicevpr.models.backbone import MultiScaleAdapter
from scicevpr.models.model import VPRModel
from scicevpr.models.regions import pool_fused_map
from training.batches import cut_batch
from training.distributed import Processes
from training.recipes import CrossImageRecipe, DistillRecipe, FullSizeRecipe

PRECISIONS = {"none": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def trainable(module: nn.Module) -> list[nn.Parameter]:
    """Parameters that are not frozen."""
    return [p for p in module.parameters() if p.requires_grad]


def freeze(module: nn.Module) -> None:
    """Stop gradients into a module and keep it in evaluation mode."""
    module.requires_grad_(False).eval()


def freeze_published(model: VPRModel) -> None:
    """Freeze the backbone but for CricaVPR's adapters, which start without effect."""
    freeze(model.backbone)
    for adapter in _adapters(model):
        adapter.reset_for_training()
        adapter.requires_grad_(True)


def start_published(model: VPRModel) -> None:
    """Give fresh weights the published start, where it is not torch's default anyway: all layers of the encoder begin
    as copies of the first; CricaVPR's adapters as :meth:`MultiScaleAdapter.reset_as_published` says."""
    first, *others = model.encoder.layers
    for layer in others:
        layer.load_state_dict(first.state_dict())
    for adapter in _adapters(model):
        adapter.reset_as_published()


def set_training(model: VPRModel) -> None:
    """Training mode for what is trained; frozen normalisation layers keep their statistics."""
    model.train()
    model.backbone.eval()
    for adapter in _adapters(model):
        adapter.train()


def _adapters(model: VPRModel) -> list[MultiScaleAdapter]:
    return [module for module in model.backbone.modules() if isinstance(module, MultiScaleAdapter)]


@torch.no_grad()
def frozen_maps(model: VPRModel, x: Tensor) -> Tensor:
    """Tapped maps as they enter the 1x1 convolution, final norm applied: [B, 3, H, W] -> [B, M*C, rows, columns]."""
    return torch.cat(model.layer_maps(model.backbone(x, model.variant.taps)), dim=1)


def head_descriptors(model: VPRModel, maps: Tensor, chunk: int | None = None) -> Tensor:
    """Fusion, pooling and encoder on tapped maps [B, M*C, rows, columns] -> unit descriptors [B, 14*C] float32.

    ``chunk``: how many photos attend to each other in a cross-image encoder (None: all).
    """
    return encode_regions(model, pool_fused_map(full_precision(model.fusion(maps)), model.gem), chunk)


def encode_regions(model: VPRModel, regions: Tensor, chunk: int | None = None) -> Tensor:
    """Region vectors [B, 14, C] -> unit descriptors [B, 14*C] float32; ``chunk`` as in :func:`head_descriptors`."""
    if chunk is None or len(regions) % chunk:
        encoded = model.encoder(regions)
    else:
        encoded = model.encoder.encode_groups(regions.unflatten(0, (-1, chunk))).flatten(0, 1)
    return F.normalize(full_precision(encoded.flatten(1)), dim=-1)


def full_precision(x: Tensor) -> Tensor:
    """Float32 where autocast left less; a double stays one."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def similarity_loss(descriptors: Tensor, others: Tensor) -> Tensor:
    """Mean squared difference of all similarities within a batch: of [B, D] and [B, E], both of unit length.

    After relational knowledge distillation (Park et al., CVPR 2019).
    """
    return (descriptors @ descriptors.T - others @ others.T).square().mean()


def batch_losses(
    descriptors: Tensor,
    labels: Tensor,
    recipe: CrossImageRecipe | DistillRecipe | FullSizeRecipe,
    target: Tensor | None = None,
    stem: Tensor | None = None,
) -> tuple[Tensor, dict[str, float]]:
    """The loss of a batch [B, D], and its parts by name: L_MS; with the teacher's descriptors ``target`` gamma * L_MS +
    eta * L_D; and with what the stem alone says (``stem``) keep * the loss that keeps those similarities.

    Raises UsageError: the recipe has no weight for what is given."""
    pairs = mine_pairs(descriptors, labels, recipe.miner_epsilon)
    total = similarity = multi_similarity_loss(descriptors, labels, pairs)
    parts = {"l_ms": similarity}
    if target is not None:
        if isinstance(recipe, CrossImageRecipe):
            raise UsageError("A recipe of the first stage has no teacher. Use a DistillRecipe.")
        parts["l_d"] = distillation_loss(descriptors, target)
        total = recipe.gamma * similarity + recipe.eta * parts["l_d"]
    if stem is not None:
        if isinstance(recipe, FullSizeRecipe):
            raise UsageError("A recipe of a full size has no stem whose similarities it keeps.")
        parts["l_keep"] = similarity_loss(descriptors, stem)
        total = total + recipe.keep * parts["l_keep"]
    numbers = {name: part.item() for name, part in {"loss": total, **parts}.items()}
    return total, {**numbers, "mined_negatives": pairs[1].sum().item() / len(labels)}


@dataclass(frozen=True)
class Networks:
    """The model in training, its teacher if it has one, and how a loaded chunk becomes descriptors [n, D] float32.

    ``precision``: none, bf16 or fp16 (autocast). ``kept_maps``: the loader gives maps of the frozen backbone instead of
    photos.
    """

    model: VPRModel
    teacher: VPRModel | None = None
    precision: str = "none"
    kept_maps: bool = False

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.model.gem.p.device

    @property
    def frozen_backbone(self) -> bool:
        """True where nothing in the backbone is trained: its maps are computed without a graph, once a step."""
        return not self.model.variant.class_token

    def autocast(self) -> Any:
        """The context in which the networks run; opened anew for every pass, for it remembers rounded weights."""
        dtype = PRECISIONS[self.precision]
        return nullcontext() if dtype is None else torch.autocast(self.device.type, dtype=dtype)

    def begin(self, loaded: Tensor) -> Tensor:
        """What the trained part starts from: maps [n, M*C, rows, columns], or CricaVPR's photos [n, 3, H, W]."""
        x = loaded.to(self.device, non_blocking=True)
        if not self.frozen_backbone:
            return x
        if self.kept_maps:
            return x if PRECISIONS[self.precision] else x.float()
        with self.autocast():
            return frozen_maps(self.model, x)

    def describe(self, start: Tensor, seed: int, *, keep_statistics: bool) -> Tensor:
        """Descriptors of a chunk, with the dropout of ``seed``; see the module for ``keep_statistics``."""
        torch.manual_seed(seed)
        with self.autocast(), _running_statistics(self.model, keep_statistics):
            if self.frozen_backbone:
                return head_descriptors(self.model, start)
            return full_precision(self.model(start))

    @torch.no_grad()
    def target(self, start: Tensor) -> Tensor:
        """The teacher's descriptors of a chunk, in evaluation mode."""
        with self.autocast():
            return head_descriptors(self.teacher, start)


@contextmanager
def _running_statistics(model: nn.Module, keep: bool) -> Iterator[None]:
    """With ``keep`` False, normalisation layers in training use the batch's statistics and leave the running ones."""
    layers = [] if keep else [m for m in model.modules() if isinstance(m, nn.BatchNorm2d) and m.training]
    for layer in layers:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True


def accumulate_gradients(
    networks: Networks,
    chunks: Sequence[Tensor],
    labels: Tensor,
    seeds: Sequence[int],
    recipe: FullSizeRecipe,
    processes: Processes,
    *,
    at_once: int = 0,
    scale: Callable[[Tensor], Tensor] = lambda gradient: gradient,
) -> dict[str, float]:
    """Leave the gradient of a batch's loss in the model's parameters, summed over all processes.

    chunks: what the loader gave for this process's chunks. labels: [P*K], of the whole batch. seeds: of every chunk of
    the batch, for dropout. at_once: of how many chunks the graphs may be held; 0: of all, so that one pass is enough.
    scale: applied to the descriptors' gradients before they go back (float16). Returns the loss and its parts. Without
    gathered negatives, each process's loss sees its own rows only (the gradient is the mean over processes), and the
    numbers are those of this process.
    """
    own = processes.share(len(seeds))[: len(chunks)]
    cuts = cut_batch(len(labels), len(seeds))
    dealt = [processes.share(len(seeds), number) for number in range(processes.count)]
    counts = [sum(cut.stop - cut.start for cut in cuts[share.start : share.stop]) for share in dealt]
    first_pass_only = not at_once or at_once >= len(own)
    with processes.together():
        starts = [networks.begin(chunk) for chunk in chunks]
        with nullcontext() if first_pass_only else torch.no_grad():
            described = [
                networks.describe(start, seeds[number], keep_statistics=number == 0)
                for number, start in zip(own, starts, strict=True)
            ]
        nothing = torch.zeros(0, networks.model.variant.descriptor_dim, device=networks.device)  # in a short batch
        targets = None if networks.teacher is None else torch.cat([nothing, *map(networks.target, starts)])
    mine = torch.cat([nothing, *(descriptors.detach() for descriptors in described)])
    if recipe.gather_negatives:
        mine = processes.gather_rows(mine, counts)
        targets = None if targets is None else processes.gather_rows(targets, counts)
    else:
        labels = processes.own_rows(labels, counts)
    with processes.together():
        leaf = mine.requires_grad_()
        loss, parts = batch_losses(leaf, labels.to(leaf.device), recipe, targets)
        (gradient,) = torch.autograd.grad(loss, leaf)
    gradient = processes.own_rows(gradient, counts) if recipe.gather_negatives else gradient / processes.count
    gradients = gradient.split([len(chunk) for chunk in chunks]) if chunks else ()
    with processes.together():
        for number, start, own_gradient in zip(own, starts, gradients, strict=True):
            own_graph = described.pop(0) if first_pass_only else None  # the list must not hold what is passed back
            if own_graph is None:
                own_graph = networks.describe(start, seeds[number], keep_statistics=False)
            own_graph.backward(scale(own_gradient))
            del own_graph
    parameters = trainable(networks.model)
    if not chunks:
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter)
    processes.sum_gradients(parameters)
    return parts


def chunks_in(recipe: FullSizeRecipe) -> int:
    """How many cross-image chunks a batch has. Raises UsageError: the batch cannot be cut into whole chunks."""
    size = recipe.places * recipe.photos
    if recipe.chunk < 1 or size % recipe.chunk:
        divisors = (d for d in range(1, size + 1) if size % d == 0)
        divisor = min(divisors, key=lambda d: (abs(d - recipe.chunk), -d))
        raise UsageError(
            f"A batch of {recipe.places} places x {recipe.photos} photos = {size} photos cannot be cut into "
            f"cross-image chunks of {recipe.chunk}. Give a --cross_image_chunk that divides {size}, e.g. "
            f"{divisor}."
        )
    return size // recipe.chunk
