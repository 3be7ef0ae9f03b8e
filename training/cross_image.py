"""Stage 1 at size T: Super-CricaVPR with its blocks, or CricaVPR's adapters and encoder on the blocks it left.

Multi-similarity loss on mined pairs, Adam with a halving rate, as published; see :mod:`training.recipes`. The stem is
frozen, so all that is trained reads its kept maps (:mod:`training.stem_maps`).

    python -m training.cross_image --data data/procity --maps runs/maps --out runs/super-cricavpr-t
    python -m training.cross_image --data data/procity --maps runs/maps --out runs/cricavpr-t \\
        --backbone runs/super-cricavpr-t/best.safetensors --set variant=cricavpr-t
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from scicevpr.config import get_variant
from scicevpr.datasets import read_dataset
from scicevpr.errors import UsageError, WeightsError
from scicevpr.losses import mine_pairs, multi_similarity_loss
from scicevpr.models.backbone import HybridEmbed, MultiScaleAdapter
from scicevpr.models.efficientnet_lite import CHANNELS
from scicevpr.models.fusion import LayerFusion
from scicevpr.models.model import VPRModel, build_model
from scicevpr.models.regions import region_boxes
from scicevpr.models.weights import fill_stem
from training.data import TrainingPhotos, list_training_photos, place_batches
from training.features import encode_regions, head_descriptors
from training.recipes import CrossImageRecipe, override
from training.stem_maps import add_view_options, draw_maps, keep_set, keep_views, views_recipe
from training.trainer import (
    BestModel,
    Resumable,
    RunLog,
    freeze,
    halving,
    kept_recall,
    seed_everything,
    stage_parser,
    trainable,
)

SAMPLE = 40  # every so many photos' maps set where the projection starts


def describe_maps(model: VPRModel, maps: Tensor, chunk: int | None = None) -> Tensor:
    """Descriptors [B, 14*C] of photos by their stem maps [B, 427, rows, columns], float32 also under autocast.

    ``chunk``: how many photos attend to each other in a cross-image encoder (None: all).
    """
    backbone, taps = model.backbone, model.variant.taps
    features = backbone.run_blocks(backbone.patch_embed.project(maps.float()), taps)
    if taps:
        return head_descriptors(model, torch.cat(model.layer_maps(features), dim=1), chunk)
    return encode_regions(model, model.regions_of(features).float(), chunk)


@torch.no_grad()
def stem_descriptors(model: VPRModel, maps: Tensor) -> Tensor:
    """What the stem alone says of photos by their maps [B, 427, rows, columns]: its 424 channels, standardised, mean of
    each region, every region of unit length, [B, 14*424] unit rows."""
    embed = model.backbone.patch_embed
    values = ((maps.float() - embed.mean[:, None, None]) / embed.deviation[:, None, None])[:, :CHANNELS]
    boxes = region_boxes(tuple(values.shape[-2:]))
    means = [values[..., box.top : box.bottom, box.left : box.right].mean((-2, -1)) for box in boxes]
    return F.normalize(F.normalize(torch.stack(means, dim=1), dim=-1).flatten(1), dim=-1)


def similarity_loss(descriptors: Tensor, others: Tensor) -> Tensor:
    """Mean squared difference of all similarities within a batch: of [B, D] and [B, E], both of unit length.

    After relational knowledge distillation (Park et al., CVPR 2019).
    """
    return (descriptors @ descriptors.T - others @ others.T).square().mean()


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
        start_projection(model.backbone.patch_embed, maps)
        start_fusion(model.fusion, recipe.stem_share)
        return model
    if backbone is None:
        raise UsageError("CricaVPR trains on the backbone of a Super-CricaVPR. Give its weights with --backbone.")
    state = {name: tensor for name, tensor in load_file(backbone).items() if name.startswith("backbone.")}
    missing = [k for k in model.load_state_dict(state, strict=False).missing_keys if k.startswith("backbone.")]
    absent = [name for name in missing if ".adapter." not in name]
    if absent:
        raise WeightsError(f"{backbone} lacks {len(absent)} backbone tensors, e.g. {absent[:3]}.")
    freeze_published(model)
    return model


def freeze_published(model: VPRModel) -> None:
    """Freeze the backbone but for CricaVPR's adapters, which start as published."""
    freeze(model.backbone)
    for module in model.backbone.modules():
        if isinstance(module, MultiScaleAdapter):
            module.reset_for_training()
            for parameter in module.parameters():
                parameter.requires_grad_(True)


def set_training(model: VPRModel) -> None:
    """Training mode for what is trained; frozen normalisation layers keep their statistics."""
    model.train()
    model.backbone.eval()
    for module in model.backbone.modules():
        if isinstance(module, MultiScaleAdapter):
            module.train()


def train(
    data: Path,
    maps: np.ndarray,
    photos: TrainingPhotos,
    out: Path,
    recipe: CrossImageRecipe,
    backbone: Path | None = None,
) -> None:
    """Train on kept maps [views, N, 427, rows, columns] and write the best model by validation Recall@1 to
    ``out/best.safetensors``. An interrupted run goes on after its last whole epoch.
    """
    generator = seed_everything(recipe.seed)
    model = prepare_model(recipe, draw_maps(maps, np.arange(0, len(photos), SAMPLE)), backbone)
    log = RunLog(out, recipe)
    validation = keep_set(model, read_dataset(data, "val"))
    best = BestModel(lambda model: kept_recall(model, validation, describe_maps), log, recipe)
    optimiser = torch.optim.Adam(trainable(model), lr=recipe.lr)
    epoch_of = {"places": recipe.places, "each": recipe.photos, "cities": recipe.cities}
    steps = sum(1 for _ in place_batches(photos, **epoch_of, generator=np.random.default_rng(0)))
    schedule = halving(optimiser, steps, recipe.decay_epochs, recipe.decay, recipe.warmup)
    keeper = Resumable(out, generator, model=model, optimiser=optimiser, schedule=schedule, best=best)
    step, first_epoch = keeper.restore(log)
    for epoch in range(first_epoch, recipe.epochs):
        set_training(model)
        for batch in place_batches(photos, **epoch_of, generator=generator):
            stem, labels = draw_maps(maps, batch.rows, generator), torch.from_numpy(batch.labels)
            with torch.autocast("cpu", dtype=torch.bfloat16):  # the networks only: the losses need float32
                descriptors = describe_maps(model, stem, recipe.chunk)
            pairs = mine_pairs(descriptors, labels, recipe.miner_epsilon)
            similarity = multi_similarity_loss(descriptors, labels, pairs)
            kept = similarity_loss(descriptors, stem_descriptors(model, stem)) if recipe.keep else torch.zeros(())
            loss = similarity + recipe.keep * kept
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            step += 1
            mined = pairs[1].sum().item() / len(labels)
            log.write(step, loss=loss.item(), l_ms=similarity.item(), l_keep=kept.item(), mined_negatives=mined)
        if (epoch + 1) % recipe.validate_every == 0 or epoch + 1 == recipe.epochs:
            best.validate(model, step, epoch)
        keeper.save(step, epoch + 1)
    log.close()


def main() -> None:
    """Command line of the stage."""
    parser = stage_parser("training.cross_image", __doc__)
    add_view_options(parser)
    parser.add_argument("--backbone", type=Path, help="for CricaVPR: best.safetensors of a Super-CricaVPR")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    recipe = override(CrossImageRecipe(), options.set)
    photos = list_training_photos(options.data, options.limit_cities)
    maps = keep_views(photos.paths, options.maps, views_recipe(options), get_variant(recipe.variant), options.threads)
    train(options.data, maps, photos, options.out, recipe, options.backbone)


if __name__ == "__main__":
    main()
