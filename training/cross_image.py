"""Stage 1 at size T: Super-CricaVPR with its blocks, or CricaVPR's adapters and encoder on the blocks it left.

Multi-similarity loss on mined pairs, Adam with a halving rate, as published; see :mod:`training.recipes`. The stem is
frozen, so all that is trained reads its kept maps (:mod:`training.stem_maps`).

    python -m training.cross_image --data data/procity --maps runs/maps --out runs/super-cricavpr-t
    python -m training.cross_image --data data/procity --maps runs/maps --out runs/cricavpr-t \\
        --backbone runs/super-cricavpr-t/best.safetensors --set variant=cricavpr-t
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scicevpr.datasets import read_dataset
from scicevpr.descriptors.describe import evaluating
from scicevpr.errors import UsageError
from scicevpr.evaluation.benchmark import score
from scicevpr.hub.load import load_backbone
from scicevpr.models.backbone import HybridEmbed
from scicevpr.models.devices import AUTO, choose_device
from scicevpr.models.efficientnet_lite import CHANNELS
from scicevpr.models.fusion import LayerFusion
from scicevpr.models.model import VPRModel, build_model
from scicevpr.models.regions import region_boxes
from scicevpr.models.weights import fill_stem
from training.batches import place_batches
from training.distributed import Processes
from training.recipes import CrossImageRecipe, DistillRecipe, R, override
from training.stem_maps import StemMaps, maps_of, stage_parser, stem_maps, stem_of
from training.steps import batch_losses, encode_regions, freeze_published, head_descriptors
from training.trainer import EXIT_STOPPED, Trainer

DEVICE_HELP = "where the stage is trained: cpu, cuda, mps; auto, the default: a GPU if there is one"
SAMPLE = 40  # every so many photos' maps set where the projection starts


def describe_maps(model: VPRModel, maps: Tensor, chunk: int | None = None) -> Tensor:
    """Descriptors [B, 14*C] of photos by their stem maps [B, 427, rows, columns], float32 also under autocast.

    ``chunk``: how many photos attend to each other in a cross-image encoder (None: all).
    """
    backbone, taps = model.backbone, model.variant.taps
    features = backbone.run_blocks(stem_of(model).project(maps.float()), taps)
    if taps:
        return head_descriptors(model, torch.cat(model.layer_maps(features), dim=1), chunk)
    return encode_regions(model, model.regions_of(features).float(), chunk)


@torch.no_grad()
def stem_descriptors(model: VPRModel, maps: Tensor) -> Tensor:
    """What the stem alone says of photos by their maps [B, 427, rows, columns]: its 424 channels, standardised, mean of
    each region, every region of unit length, [B, 14*424] unit rows."""
    embed = stem_of(model)
    values = ((maps.float() - embed.mean[:, None, None]) / embed.deviation[:, None, None])[:, :CHANNELS]
    boxes = region_boxes(tuple(values.shape[-2:]))
    means = [values[..., box.top : box.bottom, box.left : box.right].mean((-2, -1)) for box in boxes]
    return F.normalize(F.normalize(torch.stack(means, dim=1), dim=-1).flatten(1), dim=-1)


def start_projection(embed: HybridEmbed, maps: Tensor) -> None:
    """Set mean and deviation of the stem's maps [N, 427, rows, columns], and the projection to their principal axes.

    Each axis is divided by the square root of its deviation, so that a few strong ones do not drown the others.
    """
    maps = maps.float()
    embed.mean.copy_(maps.mean((0, 2, 3)))
    embed.deviation.copy_(maps.std((0, 2, 3)) + 1e-4)
    values = (maps - embed.mean[:, None, None]) / embed.deviation[:, None, None]
    values = values.permute(0, 2, 3, 1).reshape(-1, maps.shape[1]).double()
    variances, axes = torch.linalg.eigh(values.T @ values / len(values))  # ascending
    width = embed.proj.out_channels
    axes, variances = axes.flip(1)[:, :width], variances.flip(0)[:width]
    axes = axes * torch.sign(axes.gather(0, axes.abs().argmax(0, keepdim=True)))  # no sign left to chance
    embed.proj.weight.data.copy_((axes / variances.pow(0.25)).T[:, :, None, None])
    nn.init.zeros_(embed.proj.bias)


def start_fusion(fusion: LayerFusion, share: float) -> None:
    """Let the projected stem through unchanged at the start, and ``share`` of a usual start for the blocks."""
    weight = fusion.conv.weight.data
    width = len(weight)
    weight.mul_(share)
    weight[:, :width, 0, 0] = torch.eye(width)
    nn.init.zeros_(fusion.conv.bias)


def prepare_model(recipe: CrossImageRecipe, maps: Tensor | None, backbone: Path | None) -> VPRModel:
    """The variant as its training starts: a Super-CricaVPR from the stem and maps of it [N, 427, rows, columns]; a
    CricaVPR on the backbone of a trained Super-CricaVPR, frozen but for the adapters.

    Raises UsageError: what is needed was not given. WeightsError: backbone tensors are missing.
    """
    model = fill_stem(build_model(recipe.variant))
    if not model.variant.class_token:
        if maps is None:
            raise UsageError("A Super-CricaVPR of size T starts from kept maps of the stem.")
        start_projection(stem_of(model), maps)
        start_fusion(model.fusion, recipe.stem_share)
        return model
    if backbone is None:
        raise UsageError("CricaVPR trains on the backbone of a Super-CricaVPR. Give its weights with --backbone.")
    load_backbone(model, backbone)
    freeze_published(model)
    return model


class StemMapTrainer(Trainer):
    """A stage of size T: it learns from kept stem maps and is measured on those of the validation cities.

    ``build``: what gives the model, called once all random numbers follow the recipe's seed. ``device``: where it is
    trained, as :func:`choose_device` takes it.
    """

    def __init__(
        self, maps: StemMaps, out: Path, recipe: CrossImageRecipe | DistillRecipe, build: Callable[[], VPRModel],
        warmup: int = 0, device: str = "cpu",
    ) -> None:  # fmt: skip
        processes = Processes(choose_device(device))
        random.seed(recipe.seed)
        torch.manual_seed(recipe.seed)
        generator, any_order = np.random.default_rng(recipe.seed), np.random.default_rng(0)
        self._held_out = read_dataset(maps.data, "val")
        model = build().to(processes.device)
        epoch = place_batches(maps.photos, recipe.places, recipe.photos, cities=recipe.cities, generator=any_order)
        super().__init__(
            model, recipe, out, steps=sum(1 for _ in epoch), warmup=warmup, generator=generator, processes=processes,
            validate_every=recipe.validate_every,
        )  # fmt: skip
        self.maps, self._draws = maps, generator

    def batches(self, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Stem maps and place labels, on the device."""
        device = self.processes.device
        for maps, labels in self.maps.batches(self.recipe, self._draws, first):
            pinned = maps.pin_memory() if device.type == "cuda" else maps
            yield pinned.to(device, non_blocking=True), labels.to(device)

    @cached_property
    def _held_out_maps(self) -> list[Tensor]:
        """The stem's maps of the validation cities' database and queries."""
        photos, variant = (self._held_out.database, self._held_out.queries), self.model.variant
        embed = stem_of(self.model)
        return [stem_maps(embed, [p.path for p in some], variant) for some in photos]

    @torch.no_grad()
    def measure(self) -> dict[int, float] | None:
        """Recall@N of the photos of the validation cities, in file order, 16 a batch."""
        with evaluating(self.model):
            described = [
                torch.cat([describe_maps(self.model, some).cpu() for some in maps.split(16)]).numpy()
                for maps in self._held_out_maps
            ]
        found = score(self.model.variant.title, self._held_out, *described, ns=(1, 5, 10), protocol={}).overall
        return None if found is None else found.recalls


class CrossImageTrainer(StemMapTrainer):
    """Multi-similarity loss on mined pairs, and the loss that keeps the stem's similarities."""

    def gradients(self, batch: Any) -> dict[str, float]:
        """Of one batch of stem maps and labels."""
        maps, labels = batch
        with torch.autocast(maps.device.type, dtype=torch.bfloat16):  # the networks only: the losses need float32
            descriptors = describe_maps(self.model, maps, self.recipe.chunk)
        stem = stem_descriptors(self.model, maps) if self.recipe.keep else None
        loss, parts = batch_losses(descriptors, labels, self.recipe, stem=stem)
        loss.backward()
        return parts


def train(
    maps: StemMaps, out: Path, recipe: CrossImageRecipe, backbone: Path | None = None, device: str = "cpu"
) -> bool:
    """Train on kept maps and write the best model by validation Recall@1 to ``out/best.safetensors``.

    An interrupted run goes on. False: a signal stopped it.
    """

    def build() -> VPRModel:
        return prepare_model(recipe, maps.draw(np.arange(0, len(maps.photos), SAMPLE)), backbone)

    return CrossImageTrainer(maps, out, recipe, build, recipe.warmup, device).train()


def run_stage(parser: argparse.ArgumentParser, recipe: R, stage: Callable[[StemMaps, Any, R], bool]) -> None:
    """Run a stage as its command line says: ``stage(maps, options, recipe)``. Ends the program."""
    parser.add_argument("--out", type=Path, required=True, help="run folder")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default=AUTO, help=DEVICE_HELP)
    parser.add_argument(
        "--set", action="extend", nargs="*", default=[], metavar="NAME=VALUE", help="override numbers of the recipe"
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    recipe = override(recipe, options.set)
    sys.exit(0 if stage(maps_of(options, recipe.variant, options.threads), options, recipe) else EXIT_STOPPED)


def main() -> None:
    """Command line of the stage."""
    parser = stage_parser("training.cross_image", __doc__)
    parser.add_argument("--backbone", type=Path, help="for CricaVPR: best.safetensors of a Super-CricaVPR")
    run_stage(
        parser,
        CrossImageRecipe(),
        lambda maps, options, recipe: train(maps, options.out, recipe, options.backbone, options.device),
    )


if __name__ == "__main__":
    main()
