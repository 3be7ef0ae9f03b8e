"""Stage 1: CricaVPR (adapters and encoder) or Super-CricaVPR (fusion, GeM and encoder) on a frozen backbone.

Multi-similarity loss on mined pairs, Adam with a halving rate, as published; see :mod:`training.recipes`.

    python -m training.cross_image --data data/procity --backbone runs/backbone-t/backbone.safetensors \\
        --out runs/super-cricavpr-t --set variant=super-cricavpr-t views=2
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from scicevpr.errors import WeightsError
from scicevpr.losses import mine_pairs, multi_similarity_loss
from scicevpr.models.adapters import MultiScaleAdapter
from scicevpr.models.model import VPRModel, build_model
from scicevpr.models.regions import pool_fused_map
from scicevpr.places import read_dataset
from training.augment import PublishedAugmentation
from training.data import PhotoBank, PlaceBatch, list_training_photos, load_bank, place_batches
from training.features import kept_views
from training.recipes import CrossImageRecipe, override
from training.trainer import BestModel, Resumable, RunLog, freeze, halving, seed_everything, stage_parser, trainable


def load_pretrained_backbone(model: VPRModel, path: Path, *, fusion: bool) -> None:
    """Copy the backbone (and, with ``fusion``, the 1x1 convolution and GeM exponent) of a pretraining run.

    Raises:
        WeightsError: backbone tensors are missing.
    """
    state = load_file(path)
    prefixes = ("backbone.", "fusion.conv.", "gem.") if fusion else ("backbone.",)
    wanted = {k: v for k, v in state.items() if k.startswith(prefixes)}
    missing = model.load_state_dict(wanted, strict=False).missing_keys
    absent = [k for k in missing if k.startswith("backbone.") and ".adapter." not in k]
    if absent:
        raise WeightsError(f"{path} lacks {len(absent)} backbone tensors, e.g. {absent[:3]}.")


def head_descriptors(model: VPRModel, maps: Tensor) -> Tensor:
    """Fusion, pooling and encoder on kept maps: [B, M*C, rows, columns] -> [B, 14*C] unit rows."""
    regions = pool_fused_map(model.fusion(maps).float(), model.gem)
    return F.normalize(model.encoder(regions).flatten(1).float(), dim=-1)


def prepare_model(recipe: CrossImageRecipe, backbone: Path) -> VPRModel:
    """Build the variant on the pretrained backbone; freeze what the published recipe freezes."""
    model = build_model(recipe.variant)
    load_pretrained_backbone(model, backbone, fusion=not model.variant.class_token)
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


def _rows(batch: PlaceBatch) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(batch.rows))


def train(
    data: Path,
    backbone: Path,
    out: Path,
    recipe: CrossImageRecipe,
    limit_cities: int | None = None,
    features: Path | None = None,
) -> None:
    """Train and write the best model by validation Recall@1 to ``out/best.safetensors``.

    An interrupted run goes on after its last whole epoch.
    """
    generator = seed_everything(recipe.seed)
    model = prepare_model(recipe, backbone)
    log = RunLog(out, recipe)
    bank: PhotoBank = load_bank(list_training_photos(data, limit_cities), 240, 320)
    augmentation = PublishedAugmentation(recipe.pixels, recipe.operations)
    best = BestModel(read_dataset(data, "val"), log, recipe)
    views = None
    if recipe.views:
        views = kept_views(model, bank, augmentation, recipe.views, features)
    optimiser = torch.optim.Adam(trainable(model), lr=recipe.lr)
    steps_per_epoch = len(np.unique(bank.places)) // recipe.places
    schedule = halving(optimiser, steps_per_epoch, recipe.decay_epochs, recipe.decay)
    keeper = Resumable(out, generator, model=model, optimiser=optimiser, schedule=schedule, best=best)
    step, first_epoch = keeper.restore(log)
    for epoch in range(first_epoch, recipe.epochs):
        set_training(model)
        for batch in place_batches(bank, recipe.places, recipe.photos, cities=recipe.cities, generator=generator):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                if views is not None:
                    chosen = torch.from_numpy(generator.integers(recipe.views, size=len(batch.rows)))
                    descriptors = head_descriptors(model, views[chosen, _rows(batch)])
                else:
                    descriptors = model(augmentation(bank.photos[_rows(batch)])).float()
            labels = torch.from_numpy(batch.labels)
            pairs = mine_pairs(descriptors, labels, recipe.miner_epsilon)
            loss = multi_similarity_loss(descriptors, labels, pairs)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            step += 1
            log.write(step, loss=loss.item(), mined_negatives=pairs[1].sum().item() / len(labels))
        if (epoch + 1) % recipe.validate_every == 0 or epoch + 1 == recipe.epochs:
            best.validate(model, step, epoch)
        keeper.save(step, epoch + 1)
    log.close()


def main() -> None:
    """Command line of the stage."""
    parser = stage_parser("training.cross_image", __doc__)
    parser.add_argument("--backbone", type=Path, required=True, help="backbone.safetensors of training.pretrain")
    parser.add_argument("--features", type=Path, help="file in which to keep the frozen backbone's features")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    recipe = override(CrossImageRecipe(), options.set)
    train(options.data, options.backbone, options.out, recipe, options.limit_cities, options.features)


if __name__ == "__main__":
    main()
