"""Stage 0: a T backbone from scratch on the procedural city, by supervised InfoNCE over places.

Two heads read the same pass and are thrown away or handed on afterwards: region vectors of the fused last four layers
(what Super-CricaVPR and SciceVPR read) and a projection of the class token (which CricaVPR reads).

    python -m training.pretrain --data data/procity --out runs/backbone-t
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from scicevpr.losses import info_nce_loss
from scicevpr.models.model import VPRModel, build_model
from scicevpr.models.regions import pool_fused_map
from scicevpr.places import read_dataset
from training.augment import StrongAugmentation
from training.data import PhotoBank, PlaceBatch, list_training_photos, load_bank, place_batches
from training.recipes import PretrainRecipe, override
from training.trainer import RunLog, seed_everything, stage_parser, validation_recall

VARIANT = "scicevpr-t"


class PretrainModel(nn.Module):
    """SciceVPR-T's backbone and 1x1 fusion with a class-token head; mixers and encoder are not used here."""

    def __init__(self) -> None:
        super().__init__()
        self.vpr: VPRModel = build_model(VARIANT)
        self.class_head = nn.Linear(self.vpr.variant.channels, self.vpr.variant.channels)
        for module in self.vpr.backbone.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 3, H, W] -> region descriptors [B, 14*C] and class-token descriptors [B, C], both unit rows."""
        vpr = self.vpr
        features = vpr.backbone(x, vpr.variant.taps)
        maps = torch.cat(vpr.layer_maps(features), dim=1)
        fused = F.relu(vpr.fusion.conv(maps)).float()
        regions = pool_fused_map(fused, vpr.gem).flatten(1)
        class_token = self.class_head(vpr.backbone.normed_class_token(features.last)).float()
        return F.normalize(regions, dim=-1), F.normalize(class_token, dim=-1)


class _RegionDescriber(nn.Module):
    """The region head with a model's interface, so that validation describes with it."""

    def __init__(self, model: PretrainModel) -> None:
        super().__init__()
        self.model = model
        self.variant = model.vpr.variant
        self.weights = None
        self.allow_untrained = True

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)[0]


def _learning_rate(step: int, total: int, recipe: PretrainRecipe) -> float:
    if step < recipe.warmup:
        return recipe.lr * (step + 1) / recipe.warmup
    progress = (step - recipe.warmup) / max(1, total - recipe.warmup)
    return recipe.last_lr + 0.5 * (recipe.lr - recipe.last_lr) * (1 + math.cos(math.pi * progress))


def _endless(
    bank: PhotoBank, recipe: PretrainRecipe, cities: int | None, generator: np.random.Generator
) -> Iterator[PlaceBatch]:
    while True:
        yield from place_batches(bank, recipe.places, recipe.photos, cities=cities, generator=generator)


def _mirrored(batch: PlaceBatch, share: float, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Mirror a share of the places: which photos to flip [N], and labels [N] in which a mirrored place is a new one."""
    unique, inverse = np.unique(batch.labels, return_inverse=True)
    flip = (generator.random(len(unique)) < share)[inverse]
    return torch.from_numpy(flip), torch.from_numpy(batch.labels * 2 + flip)


def pretrain(data: Path, out: Path, recipe: PretrainRecipe, validation: Path | None, limit_cities: int | None) -> None:
    """Train and write ``out/backbone.safetensors`` (after every validation and at the end)."""
    generator = seed_everything(recipe.seed)
    log = RunLog(out, recipe)
    model = PretrainModel()
    model.train()
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=recipe.lr, betas=(0.9, 0.98))
    total, step = sum(phase.steps for phase in recipe.phases), 0
    dataset = read_dataset(validation, "val") if validation else None
    paths = list_training_photos(data, limit_cities)
    for phase in recipe.phases:
        height = min(240, phase.pixels * 5 // 4)
        bank = load_bank(paths, height, height * 4 // 3)
        augmentation = StrongAugmentation(phase.pixels)
        batches = _endless(bank, recipe, phase.cities, generator)
        for _ in range(phase.steps):
            batch = next(batches)
            mirror, labels = _mirrored(batch, recipe.mirror, generator)
            x = augmentation(bank.photos[torch.from_numpy(batch.rows)], mirror)
            for group in optimiser.param_groups:
                group["lr"] = _learning_rate(step, total, recipe)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                regions, class_token = model(x)
            region_loss = info_nce_loss(regions, labels, recipe.temperature)
            class_loss = info_nce_loss(class_token, labels, recipe.temperature)
            loss = region_loss + recipe.class_token_weight * class_loss
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            step += 1
            if step % 10 == 0:
                log.write(step, region_loss=region_loss.item(), class_loss=class_loss.item(), grad_norm=norm.item())
            if step % recipe.validate_every == 0 or step == total:
                save(model, out, step)
                if dataset is not None:
                    model.eval()
                    recalls = validation_recall(_RegionDescriber(model), dataset)
                    log.write(step, **{f"val_recall_{n}": value for n, value in recalls.items()})
                    model.train()
        del bank
    log.close()


def save(model: PretrainModel, out: Path, step: int) -> None:
    """Write backbone, 1x1 convolution and GeM exponent as float32 safetensors."""
    state = {k: v for k, v in model.vpr.state_dict().items() if not k.startswith(("encoder.", "fusion.mixers."))}
    save_file({k: v.contiguous() for k, v in state.items()}, out / "backbone.safetensors", {"steps": str(step)})


def main() -> None:
    """Command line of the stage."""
    parser = stage_parser("training.pretrain", __doc__)
    parser.add_argument("--no-validation", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    recipe = override(PretrainRecipe(), options.set)
    pretrain(options.data, options.out, recipe, None if options.no_validation else options.data, options.limit_cities)


if __name__ == "__main__":
    main()
