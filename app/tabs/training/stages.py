"""The stages of training as the Training tab tells them: what learns, from what, in which file, by which command."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from training import recipes

FULL_FAMILY = "python -m training.full_size"
MAPS = "--data data/procity --maps runs/maps"


@dataclass(frozen=True)
class Stage:
    """A stage of training. learns, frozen, loss: what moves, what does not, and towards what; file: below the checkout;
    command: as the shipped T weights were made; full_size: for size B on GSV-Cities; shipped: of the weights' card."""

    key: str
    title: str
    what: str
    learns: str
    frozen: str
    loss: str
    file: str
    command: str
    full_size: str
    shipped: str


def settings(recipe: Any) -> str:
    """What a recipe changes, as a stage's --set takes it: "epochs=6 lr=0.001"; "" where it changes nothing."""
    default = type(recipe)()
    values = {f.name: getattr(recipe, f.name) for f in fields(recipe)}
    changed = {name: value for name, value in values.items() if value != getattr(default, name)}
    return " ".join(f"{name}={'none' if value is None else value}" for name, value in changed.items())


def _command(module: str, options: str, recipe: Any) -> str:
    changed = settings(recipe)
    return f"python -m training.{module} {options}" + (f" \\\n    --set {changed}" if changed else "")


def _full_size(model: str, options: str) -> str:
    return f"{FULL_FAMILY} --model {model}-b --data gsv-cities \\\n    {options} --val pitts30k --out runs/{model}-b"


STAGES = (
    Stage(
        "maps",
        "0 · Frozen features",
        "Nobody learns to see from nothing here. Size T takes a small network that learned to name things in photos "
        "(EfficientNet-Lite0, ImageNet); sizes S, B and L take DINOv2. It stays as it is, so several views of every "
        "training photo pass through it once, and what comes out is kept.",
        "nothing",
        "the whole network",
        "none",
        "training/stem_maps.py",
        f"python -m training.stem_maps {MAPS}",
        "scicevpr weights get dinov2-b",
        "four views of 8,448 photos, 13 minutes on two cores beside other work",
    ),
    Stage(
        "teacher",
        "1 · Teacher: Super-CricaVPR",
        "Layers are fused, cut into 14 regions, and the regions of all photos of a batch read each other. Photos of "
        "one place help each other, so this model knows more than a single photo shows; the price is that its answers "
        "depend on the batch.",
        "1×1 convolution, token mixers, GeM exponent, cross-image encoder; at size T also its four transformer blocks",
        "size T: the ImageNet network; other sizes: the whole backbone",
        "multi-similarity (L_MS) on mined pairs",
        "training/cross_image.py",
        _command("cross_image", f"{MAPS} --out runs/super-cricavpr-t", recipes.SHIPPED_SUPER),
        _full_size("super-cricavpr", "--foundation_model_path dinov2-b"),
        "208 steps of 192 photos, 18 minutes on two cores beside other work; Recall@1 on the validation cities 86.7 %",
    ),
    Stage(
        "student",
        "2 · Student: SciceVPR",
        "The student sees every photo by itself and learns to say what the teacher says about it in its batch. So the "
        "knowledge of the whole batch ends up in a model that needs no batch. This is the stage you can run below.",
        "token mixers, GeM exponent, self-enhanced encoder",
        "backbone and 1×1 convolution, both the teacher's",
        "L_T = γ·L_MS + η·L_D, where L_D is the squared distance to the teacher's descriptor",
        "training/distill.py",
        _command(
            "distill", f"{MAPS} --out runs/scicevpr-t \\\n    --teacher runs/super-cricavpr-t/best.safetensors",
            recipes.SHIPPED_DISTILL,
        ),
        _full_size("scicevpr", "--teacher runs/super-cricavpr-b/best.safetensors"),
        "208 steps of 192 photos, 13 minutes on two cores beside other work; Recall@1 on the validation cities 83.3 %",
    ),
    Stage(
        "baseline",
        "Beside · CricaVPR, the baseline",
        "The model that the other two are compared with: small adapters in every block of the backbone, the class "
        "token instead of the fused whole, and the same cross-image encoder as the teacher.",
        "adapters in the backbone, GeM exponent, cross-image encoder",
        "the rest of the backbone (size T: the teacher's blocks)",
        "multi-similarity (L_MS) on mined pairs",
        "training/cross_image.py",
        _command(
            "cross_image", f"{MAPS} --out runs/cricavpr-t \\\n    --backbone runs/super-cricavpr-t/best.safetensors",
            recipes.SHIPPED_CRICA,
        ),
        _full_size("cricavpr", "--foundation_model_path dinov2-b"),
        "104 steps of 192 photos, 5 minutes on two cores; Recall@1 on the validation cities 85.0 %",
    ),
)  # fmt: skip
"""The numbers in `shipped` are those of assets/weights/README.md."""


def stage(key: str) -> Stage:
    """The stage called key; the student's for an unknown one."""
    return next((one for one in STAGES if one.key == key), STAGES[2])
