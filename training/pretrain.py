"""Stage 0: a T backbone from scratch on the procedural city, by supervised InfoNCE over places.

Two heads read the same pass and are thrown away or handed on afterwards: region vectors of the fused last four layers
(what Super-CricaVPR and SciceVPR read) and a projection of the class token (which CricaVPR reads).

    python -m training.pretrain --data data/procity --out runs/backbone-t
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from scicevpr.errors import UsageError, WeightsError
from scicevpr.losses import info_nce_loss
from scicevpr.models.model import VPRModel, build_model
from scicevpr.models.regions import pool_fused_map
from scicevpr.places import read_dataset
from training.augment import StrongAugmentation
from training.data import PlaceBatch, list_training_photos, load_bank, place_batches, weather_weights
from training.recipes import Phase, PretrainRecipe, override
from training.rooms import RoomMaker
from training.trainer import Resumable, RunLog, run_facts, seed_everything, stage_parser, validation_recall

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


def _mirrored(batch: PlaceBatch, share: float, generator: np.random.Generator) -> tuple[Tensor, np.ndarray]:
    """Mirror a share of the places: which photos to flip [N], and labels [N] in which a mirrored place is a new one."""
    unique, inverse = np.unique(batch.labels, return_inverse=True)
    flip = (generator.random(len(unique)) < share)[inverse]
    return torch.from_numpy(flip), batch.labels * 2 + flip


class Average:
    """Exponential moving average of a model's floating-point state; what is validated and handed on."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).eval()
        self.decay = decay
        self.best = 0.0  # validation Recall@1 of what was saved last

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take in the model after a step; early steps count more, so that the average does not lag behind them."""
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        for kept, new in zip(self.model.state_dict().values(), model.state_dict().values(), strict=True):
            if kept.is_floating_point():
                kept.lerp_(new, share)
            else:
                kept.copy_(new)

    def state_dict(self) -> dict[str, Tensor]:
        """Of the averaged model, and the best Recall so far."""
        return {**self.model.state_dict(), "best": torch.tensor(self.best)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take both up again."""
        self.best = float(state["best"])
        self.model.load_state_dict({name: tensor for name, tensor in state.items() if name != "best"})


class Batches:
    """Augmented batches of city places and rooms for one phase; batch ``step`` depends on seed and step only."""

    def __init__(self, recipe: PretrainRecipe, phase: Phase, paths: list[Path], rooms: RoomMaker | None) -> None:
        self._recipe, self._phase, self._rooms = recipe, phase, rooms
        height = min(240, phase.pixels * 5 // 4)
        self._bank = load_bank(paths, height, height * 4 // 3) if phase.places else None
        plain = self._bank is None or recipe.hard_weather == 1.0
        self._weights = None if plain else weather_weights(self._bank, recipe.hard_weather)
        self._city_view, self._room_view = (
            StrongAugmentation(phase.pixels),
            StrongAugmentation(phase.pixels, aspect=1.0),
        )

    def draw(self, step: int) -> tuple[Tensor, Tensor]:
        """Photos [N, 3, pixels, pixels], normalised, and place labels [N]."""
        recipe, phase = self._recipe, self._phase
        random = np.random.default_rng([recipe.seed, 21, step])
        torch.manual_seed(int(random.integers(1 << 62)))
        photos, labels = [], []
        if self._bank is not None:
            few, weights = phase.cities, self._weights
            drawn = place_batches(
                self._bank, phase.places, recipe.photos, cities=few, generator=random, weights=weights
            )
            batch = next(drawn)
            flip, numbers = _mirrored(batch, recipe.mirror, random)
            photos.append(self._city_view(self._bank.photos[torch.from_numpy(batch.rows)], flip))
            labels.append(numbers)
        if self._rooms is not None and phase.rooms:
            pixels = phase.pixels * 9 // 8
            batch = self._rooms.batch(phase.rooms, recipe.photos, pixels, int(random.integers(1 << 40)))
            none = torch.zeros(len(batch.labels), dtype=torch.bool)
            photos.append(self._room_view((batch.photos * 255).to(torch.uint8), none))
            labels.append(-1 - batch.labels)
        return torch.cat(photos), torch.from_numpy(np.concatenate(labels))


def start_from(model: PretrainModel, paths: Sequence[Path]) -> None:
    """Begin with the backbone, 1x1 convolution and GeM exponent of an earlier run or of shipped weight files.

    Raises:
        WeightsError: the file lacks backbone tensors.
    """
    state = {name: tensor for path in paths for name, tensor in load_file(path).items()}
    wanted = {k: v.float() for k, v in state.items() if k.startswith(("backbone.", "fusion.conv.", "gem."))}
    missing = model.vpr.load_state_dict(wanted, strict=False).missing_keys
    absent = [name for name in missing if name.startswith("backbone.")]
    if absent:
        raise WeightsError(
            f"{', '.join(map(str, paths))}: no file has {len(absent)} backbone tensors, e.g. {absent[:3]}."
        )


def pretrain(
    data: Path | None,
    out: Path,
    recipe: PretrainRecipe,
    validation: Path | None,
    limit_cities: int | None = None,
    start: Sequence[Path] = (),
) -> None:
    """Train and write the best ``out/backbone.safetensors`` by validation Recall@1; an interrupted run goes on.

    Args:
        data: folder with ``images/train``; may be None when no phase shows city places.
        out: run folder.
        recipe: all numbers.
        validation: folder with ``images/val``, or None for no validation.
        limit_cities: use the first N training cities only.
        start: files of an earlier run to begin with.
    """
    generator = seed_everything(recipe.seed)
    model = PretrainModel()
    if start:
        start_from(model, start)
    model.train()
    average = Average(model, recipe.ema)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=recipe.lr, betas=(0.9, 0.98))
    keeper = Resumable(out, generator, model=model, average=average, optimiser=optimiser)
    log = RunLog(out, recipe)
    done, _ = keeper.restore(log)
    dataset = read_dataset(validation, "val") if validation else None
    paths = list_training_photos(data, limit_cities) if data is not None else []
    rooms = RoomMaker(recipe.seed) if any(phase.rooms for phase in recipe.phases) else None
    total, step = sum(phase.steps for phase in recipe.phases), 0
    last = total if recipe.stop is None else min(total, recipe.stop)
    for phase in recipe.phases:
        if step + phase.steps <= done:
            step += phase.steps
            continue
        if step >= last:
            break
        batches = Batches(recipe, phase, paths, rooms)
        end, step = min(last, step + phase.steps), max(step, done)
        while step < end:
            x, labels = batches.draw(step)
            for group in optimiser.param_groups:
                group["lr"] = _learning_rate(step, total, recipe)
            values = _step(model, optimiser, x, labels, recipe)
            average.update(model, step)
            step += 1
            if step % 10 == 0:
                log.write(step, **values)
            if step % recipe.validate_every == 0 or step == last:
                recalls: dict[int, float] = {}
                if dataset is not None:
                    recalls = validation_recall(_RegionDescriber(average.model), dataset)
                    log.write(step, **{f"val_recall_{n}": value for n, value in recalls.items()})
                if recalls.get(1, 0.0) >= average.best:
                    average.best = recalls.get(1, 0.0)
                    save(average.model, out, run_facts(model.vpr.variant, recipe, step, recalls))
            if step % recipe.save_every == 0:
                keeper.save(step)
    log.close()


def _step(
    model: PretrainModel, optimiser: torch.optim.Optimizer, x: Tensor, labels: Tensor, recipe: PretrainRecipe
) -> dict[str, float]:
    """One update; returns what is logged."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        regions, class_token = model(x)
    region_loss = info_nce_loss(regions, labels, recipe.temperature)
    class_loss = info_nce_loss(class_token, labels, recipe.temperature)
    optimiser.zero_grad(set_to_none=True)
    (region_loss + recipe.class_token_weight * class_loss).backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    return {"region_loss": region_loss.item(), "class_loss": class_loss.item(), "grad_norm": norm.item()}


def save(model: PretrainModel, out: Path, facts: dict[str, str]) -> None:
    """Write backbone, 1x1 convolution and GeM exponent as float32 safetensors."""
    state = {k: v for k, v in model.vpr.state_dict().items() if not k.startswith(("encoder.", "fusion.mixers."))}
    save_file({k: v.contiguous() for k, v in state.items()}, out / "backbone.safetensors", facts)


def main() -> None:
    """Command line of the stage."""
    parser = stage_parser("training.pretrain", __doc__)
    parser.add_argument("--no-validation", action="store_true")
    parser.add_argument("--start", type=Path, nargs="+", default=[], help="backbone.safetensors of an earlier run")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    recipe = override(PretrainRecipe(), options.set)
    if options.data is None and (any(p.places for p in recipe.phases) or not options.no_validation):
        raise UsageError("City places and validation need --data; phases of rooms alone need --no-validation.")
    validation = None if options.no_validation else options.data
    pretrain(options.data, options.out, recipe, validation, options.limit_cities, options.start)


if __name__ == "__main__":
    main()
