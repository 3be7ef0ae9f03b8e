"""Stage 2: SciceVPR distilled from a trained Super-CricaVPR (paper, Figure 3).

Backbone and 1x1 convolution are the teacher's, frozen; token mixers, GeM exponent and self-enhanced encoder start
fresh and learn ``L_T = gamma * L_MS + eta * L_D``. The teacher is in evaluation mode and sees the same batch, so its
descriptors carry what the images of the batch tell each other.

    python -m training.distill --data data/procity --maps runs/maps --teacher runs/super-cricavpr-t/best.safetensors \\
        --out runs/scicevpr-t
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from scicevpr.config import get_variant
from scicevpr.datasets import read_dataset
from scicevpr.losses import distillation_loss, mine_pairs, multi_similarity_loss
from scicevpr.models.model import VPRModel, build_model
from training.cross_image import describe_maps, similarity_loss, stem_descriptors
from training.data import TrainingPhotos, list_training_photos, place_batches
from training.features import head_descriptors
from training.recipes import DistillRecipe, override
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


def build_pair(recipe: DistillRecipe, teacher_path: Path) -> tuple[VPRModel, VPRModel]:
    """Return (student, teacher): the student takes the teacher's backbone and convolution, both frozen."""
    student = build_model(recipe.variant)
    teacher = build_model(teacher_name(recipe.variant))
    teacher.load_state_dict(load_file(teacher_path))
    inherit(student, teacher)
    if recipe.from_teacher:
        student.gem.load_state_dict(teacher.gem.state_dict())
        student.fusion.mixers.load_state_dict(teacher.fusion.mixers.state_dict())
    return student, teacher


def teacher_name(student: str) -> str:
    """The variant that teaches a SciceVPR: the Super-CricaVPR of its size."""
    return student.replace("scicevpr", "super-cricavpr")


def inherit(student: VPRModel, teacher: VPRModel) -> None:
    """Freeze the teacher, and give the student its backbone (one for both) and a frozen copy of its convolution."""
    freeze(teacher)
    student.backbone = teacher.backbone
    student.fusion.conv.load_state_dict(teacher.fusion.conv.state_dict())
    freeze(student.fusion.conv)


def distillation_step(
    student: VPRModel,
    teacher: VPRModel,
    maps: Tensor,
    labels: Tensor,
    recipe: DistillRecipe,
    stem: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """One batch of tapped maps [B, M*C, rows, columns] -> (L_T, L_MS, L_D).

    ``stem``: what the stem alone says of the photos; their similarities are then kept too, with the recipe's weight.
    """
    with torch.autocast("cpu", dtype=torch.bfloat16):  # the networks only: the losses need float32
        with torch.no_grad():
            target = head_descriptors(teacher, maps, recipe.chunk)
        descriptors = head_descriptors(student, maps)
    similarity = multi_similarity_loss(descriptors, labels, mine_pairs(descriptors, labels, recipe.miner_epsilon))
    distance = distillation_loss(descriptors, target)
    total = recipe.gamma * similarity + recipe.eta * distance
    if stem is not None:
        total = total + recipe.keep * similarity_loss(descriptors, stem)
    return total, similarity, distance


@torch.no_grad()
def tapped_maps(model: VPRModel, maps: Tensor) -> Tensor:
    """What the frozen backbone gives for stem maps [B, 427, rows, columns]: [B, M*C, rows, columns]."""
    backbone = model.backbone
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = backbone.run_blocks(backbone.patch_embed.project(maps.float()), model.variant.taps)
        return torch.cat(model.layer_maps(features), dim=1)


def distill(
    data: Path, maps: np.ndarray, photos: TrainingPhotos, teacher_path: Path, out: Path, recipe: DistillRecipe
) -> None:
    """Train on kept stem maps and write the best student by validation Recall@1 to ``out/best.safetensors``.

    An interrupted run goes on after its last whole epoch.
    """
    generator = seed_everything(recipe.seed)
    student, teacher = build_pair(recipe, teacher_path)
    log = RunLog(out, recipe)
    validation = keep_set(student, read_dataset(data, "val"))
    best = BestModel(lambda model: kept_recall(model, validation, describe_maps), log, recipe)
    optimiser = torch.optim.Adam(trainable(student), lr=recipe.lr)
    epoch_of = {"places": recipe.places, "each": recipe.photos, "cities": recipe.cities}
    steps = sum(1 for _ in place_batches(photos, **epoch_of, generator=np.random.default_rng(0)))
    schedule = halving(optimiser, steps, recipe.decay_epochs, recipe.decay)
    keeper = Resumable(out, generator, student=student, optimiser=optimiser, schedule=schedule, best=best)
    step, first_epoch = keeper.restore(log)
    for epoch in range(first_epoch, recipe.epochs):
        student.train()
        student.backbone.eval()
        for batch in place_batches(photos, **epoch_of, generator=generator):
            drawn, labels = draw_maps(maps, batch.rows, generator), torch.from_numpy(batch.labels)
            stem = stem_descriptors(teacher, drawn) if recipe.keep else None
            tapped = tapped_maps(teacher, drawn)
            total, similarity, distance = distillation_step(student, teacher, tapped, labels, recipe, stem)
            optimiser.zero_grad(set_to_none=True)
            total.backward()
            optimiser.step()
            schedule.step()
            step += 1
            log.write(step, loss=total.item(), l_ms=similarity.item(), l_d=distance.item())
        if (epoch + 1) % recipe.validate_every == 0 or epoch + 1 == recipe.epochs:
            best.validate(student, step, epoch)
        keeper.save(step, epoch + 1)
    log.close()


def main() -> None:
    """Command line of the stage."""
    parser = stage_parser("training.distill", __doc__)
    add_view_options(parser)
    parser.add_argument("--teacher", type=Path, required=True, help="best.safetensors of training.cross_image")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    recipe = override(DistillRecipe(), options.set)
    photos = list_training_photos(options.data, options.limit_cities)
    maps = keep_views(photos.paths, options.maps, views_recipe(options), get_variant(recipe.variant), options.threads)
    distill(options.data, maps, photos, options.teacher, options.out, recipe)


if __name__ == "__main__":
    main()
