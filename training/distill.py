"""Stage 2: SciceVPR distilled from a trained Super-CricaVPR (paper, Figure 3).

Backbone and 1x1 convolution are the teacher's, frozen; token mixers, GeM exponent and self-enhanced encoder start
fresh and learn ``L_T = gamma * L_MS + eta * L_D``. The teacher is in evaluation mode and sees the same batch, so its
descriptors carry what the images of the batch tell each other.

    python -m training.distill --data data/procity --maps runs/maps --teacher runs/super-cricavpr-t/best.safetensors \\
        --out runs/scicevpr-t
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from scicevpr.models.model import VPRModel, build_model
from training.cross_image import StemMapTrainer, run_stage, stem_descriptors
from training.recipes import DistillRecipe
from training.stem_maps import StemMaps, stage_parser, stem_of
from training.steps import batch_losses, freeze, head_descriptors


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
) -> tuple[Tensor, dict[str, float]]:  # fmt: skip
    """One batch of tapped maps [B, M*C, rows, columns] -> L_T and its parts by name.

    ``stem``: what the stem alone says of the photos; their similarities are then kept too, with the recipe's weight.
    """
    with torch.autocast(maps.device.type, dtype=torch.bfloat16):  # the networks only: the losses need float32
        with torch.no_grad():
            target = head_descriptors(teacher, maps, recipe.chunk)
        descriptors = head_descriptors(student, maps)
    return batch_losses(descriptors, labels, recipe, target, stem)


@torch.no_grad()
def tapped_maps(model: VPRModel, maps: Tensor) -> Tensor:
    """What the frozen backbone gives for stem maps [B, 427, rows, columns]: [B, M*C, rows, columns]."""
    backbone = model.backbone
    with torch.autocast(maps.device.type, dtype=torch.bfloat16):
        features = backbone.run_blocks(stem_of(model).project(maps.float()), model.variant.taps)
        return torch.cat(model.layer_maps(features), dim=1)


class DistillTrainer(StemMapTrainer):
    """The student in training, beside its teacher."""

    def __init__(
        self, maps: StemMaps, out: Path, recipe: DistillRecipe, teacher_path: Path, device: str = "cpu"
    ) -> None:
        def build() -> VPRModel:
            student, self.teacher = build_pair(recipe, teacher_path)
            return student

        super().__init__(maps, out, recipe, build, device=device)
        self.teacher.to(self.processes.device)

    def gradients(self, batch: Any) -> dict[str, float]:
        """Of one batch of stem maps and labels."""
        maps, labels = batch
        stem = stem_descriptors(self.teacher, maps) if self.recipe.keep else None
        tapped = tapped_maps(self.teacher, maps)
        total, parts = distillation_step(self.model, self.teacher, tapped, labels, self.recipe, stem)
        total.backward()
        return parts


def distill(maps: StemMaps, out: Path, recipe: DistillRecipe, teacher: Path, device: str = "cpu") -> bool:
    """Train on kept maps and write the best student by validation Recall@1 to ``out/best.safetensors``.

    An interrupted run goes on. False: a signal stopped it.
    """
    return DistillTrainer(maps, out, recipe, teacher, device).train()


def main() -> None:
    """Command line of the stage."""
    parser = stage_parser("training.distill", __doc__)
    parser.add_argument("--teacher", type=Path, required=True, help="best.safetensors of training.cross_image")
    run_stage(
        parser,
        DistillRecipe(),
        lambda maps, options, recipe: distill(maps, options.out, recipe, options.teacher, options.device),
    )


if __name__ == "__main__":
    main()
