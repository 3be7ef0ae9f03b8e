"""Stage 2: SciceVPR distilled from a trained Super-CricaVPR (paper, Figure 3).

Backbone and 1x1 convolution are the teacher's, frozen; token mixers, GeM exponent and self-enhanced encoder start
fresh and learn ``L_T = gamma * L_MS + eta * L_D``. The teacher is in evaluation mode and sees the same batch, so its
descriptors carry what the images of the batch tell each other.

    python -m training.distill --data data/procity --teacher runs/super-cricavpr-t/best.safetensors \\
        --out runs/scicevpr-t
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from scicevpr.losses import distillation_loss, mine_pairs, multi_similarity_loss
from scicevpr.models.model import VPRModel, build_model
from scicevpr.places import read_dataset
from training.augment import PublishedAugmentation
from training.cross_image import head_descriptors
from training.data import list_training_photos, load_bank, place_batches
from training.features import kept_views
from training.recipes import DistillRecipe, override
from training.trainer import BestModel, Resumable, RunLog, freeze, halving, seed_everything, stage_parser, trainable


def build_pair(recipe: DistillRecipe, teacher_path: Path) -> tuple[VPRModel, VPRModel]:
    """Return (student, teacher): the student takes the teacher's backbone and convolution, both frozen."""
    student = build_model(recipe.variant)
    teacher = build_model(teacher_name(recipe.variant))
    teacher.load_state_dict(load_file(teacher_path))
    inherit(student, teacher)
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
    student: VPRModel, teacher: VPRModel, maps: Tensor, labels: Tensor, recipe: DistillRecipe
) -> tuple[Tensor, Tensor, Tensor]:
    """One batch of kept maps [B, M*C, rows, columns] -> (L_T, L_MS, L_D)."""
    with torch.autocast("cpu", dtype=torch.bfloat16):  # the networks only: the losses need float32
        with torch.no_grad():
            target = head_descriptors(teacher, maps)
        descriptors = head_descriptors(student, maps)
    similarity = multi_similarity_loss(descriptors, labels, mine_pairs(descriptors, labels, recipe.miner_epsilon))
    distance = distillation_loss(descriptors, target)
    return recipe.gamma * similarity + recipe.eta * distance, similarity, distance


def distill(
    data: Path,
    teacher_path: Path,
    out: Path,
    recipe: DistillRecipe,
    limit_cities: int | None = None,
    features: Path | None = None,
) -> None:
    """Train and write the best student by validation Recall@1 to ``out/best.safetensors``.

    An interrupted run goes on after its last whole epoch.
    """
    generator = seed_everything(recipe.seed)
    student, teacher = build_pair(recipe, teacher_path)
    log = RunLog(out, recipe)
    bank = load_bank(list_training_photos(data, limit_cities), 240, 320)
    augmentation = PublishedAugmentation(student.variant.preprocessing.size[0], recipe.operations)
    best = BestModel(read_dataset(data, "val"), log, recipe)
    views = kept_views(student, bank, augmentation, recipe.views, features)
    optimiser = torch.optim.Adam(trainable(student), lr=recipe.lr)
    steps_per_epoch = len(np.unique(bank.places)) // recipe.places
    schedule = halving(optimiser, steps_per_epoch, recipe.decay_epochs, recipe.decay)
    keeper = Resumable(out, generator, student=student, optimiser=optimiser, schedule=schedule, best=best)
    step, first_epoch = keeper.restore(log)
    for epoch in range(first_epoch, recipe.epochs):
        student.train()
        student.backbone.eval()
        for batch in place_batches(bank, recipe.places, recipe.photos, cities=recipe.cities, generator=generator):
            chosen = torch.from_numpy(generator.integers(len(views), size=len(batch.rows)))
            maps = views[chosen, torch.from_numpy(batch.rows)]
            labels = torch.from_numpy(batch.labels)
            total, similarity, distance = distillation_step(student, teacher, maps, labels, recipe)
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
    parser.add_argument("--teacher", type=Path, required=True, help="best.safetensors of training.cross_image")
    parser.add_argument("--features", type=Path, help="file in which to keep the frozen backbone's features")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    recipe = override(DistillRecipe(), options.set)
    distill(options.data, options.teacher, options.out, recipe, options.limit_cities, options.features)


if __name__ == "__main__":
    main()
