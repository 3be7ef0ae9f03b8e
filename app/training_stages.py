"""The stages of training as the Training tab tells them: what learns, from what, in which file, by which command."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from training import recipes
from training.recipes import Phase

FAMILY = "python -m training.family --render --data data/procity --runs runs"
FULL_FAMILY = "python -m training.full_size"
FEATURES = "--features runs/features.safetensors"
BACKBONE = "--backbone runs/backbone-t/backbone.safetensors"


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
    changed = [f.name for f in fields(recipe) if getattr(recipe, f.name) != getattr(default, f.name)]
    return " ".join(f"{name}={_text(getattr(recipe, name))}" for name in changed)


def _text(value: Any) -> str:
    if value is None:
        return "none"
    return ",".join(map(_phase, value)) if isinstance(value, tuple) else str(value)


def _phase(phase: Phase) -> str:
    numbers = [phase.pixels, phase.steps, phase.places, phase.rooms]
    return "x".join(map(str, numbers if phase.cities is None else [*numbers, phase.cities]))


def _command(module: str, options: str, recipe: Any) -> str:
    return f"python -m training.{module} {options} \\\n    --set {settings(recipe)}"


def _full_size(model: str, options: str) -> str:
    return f"{FULL_FAMILY} --model {model}-b --data gsv-cities \\\n    {options} --val pitts30k --out runs/{model}-b"


def _pretraining() -> str:
    data = "--data data/procity --out runs"
    return "\n".join(
        (
            _command("pretrain", f"{data}/first-t", recipes.SHIPPED_FIRST),
            _command(
                "pretrain", "--out runs/rooms-t --start runs/first-t/backbone.safetensors --no-validation",
                recipes.SHIPPED_ROOMS,
            ),
            _command("pretrain", f"{data}/city-t --start runs/rooms-t/backbone.safetensors", recipes.SHIPPED_CITY),
            _command(
                "pretrain", f"{data}/backbone-t --start runs/city-t/backbone.safetensors", recipes.SHIPPED_PRETRAIN
            ),
        )
    )  # fmt: skip


STAGES = (
    Stage(
        "backbone",
        "0 · Backbone",
        "A vision transformer learns to see places: photos of one place shall be alike, photos of different places "
        "shall not. Size T starts from random numbers and learns on drawn rooms and drawn cities; at sizes S, B and L "
        "this stage is DINOv2, which is taken as published.",
        "the whole backbone, with a small head that is thrown away afterwards",
        "nothing",
        "InfoNCE over places",
        "training/pretrain.py",
        _pretraining(),
        "scicevpr weights get dinov2-b",
        "870, 600, 720 and 760 steps, 189 minutes on two cores; Recall@1 on the validation cities 67.1 % (own head)",
    ),
    Stage(
        "teacher",
        "1 · Teacher: Super-CricaVPR",
        "The frozen backbone's last four layers are fused, cut into 14 regions, and the regions of all photos of a "
        "batch read each other. Photos of one place help each other, so this model knows more than a single photo "
        "shows; the price is that its answers depend on the batch.",
        "1×1 convolution, token mixers, GeM exponent, cross-image encoder",
        "backbone",
        "multi-similarity (L_MS) on mined pairs",
        "training/cross_image.py",
        _command(
            "cross_image", f"--data data/procity {BACKBONE} \\\n    --out runs/super-cricavpr-t {FEATURES}",
            recipes.SHIPPED_SUPER,
        ),
        _full_size("super-cricavpr", "--foundation_model_path dinov2-b"),
        "152 steps of 288 photos, 8 minutes on two cores; Recall@1 on the validation cities 73.3 %",
    ),
    Stage(
        "student",
        "2 · Student: SciceVPR",
        "The student sees every photo by itself and learns to say what the teacher says about it in company. So the "
        "knowledge of the whole batch ends up in a model that needs no batch. This is the stage you can run below.",
        "token mixers, GeM exponent, self-enhanced encoder, all fresh",
        "backbone and 1×1 convolution, both the teacher's",
        "L_T = γ·L_MS + η·L_D, where L_D is the squared distance to the teacher's descriptor",
        "training/distill.py",
        _command(
            "distill", "--data data/procity --teacher runs/super-cricavpr-t/best.safetensors \\\n"
            f"    --out runs/scicevpr-t {FEATURES}", recipes.SHIPPED_DISTILL,
        ),
        _full_size("scicevpr", "--teacher runs/super-cricavpr-b/best.safetensors"),
        "114 steps of 288 photos, 5 minutes on two cores; Recall@1 on the validation cities 70.8 %",
    ),
    Stage(
        "baseline",
        "Beside · CricaVPR, the baseline",
        "The model that the other two are compared with: small adapters in every block of the backbone, the class "
        "token instead of the fused whole, and the same cross-image encoder as the teacher.",
        "adapters in the backbone, GeM exponent, cross-image encoder",
        "the rest of the backbone",
        "multi-similarity (L_MS) on mined pairs",
        "training/cross_image.py",
        _command("cross_image", f"--data data/procity {BACKBONE} \\\n    --out runs/cricavpr-t", recipes.SHIPPED_CRICA),
        _full_size("cricavpr", "--foundation_model_path dinov2-b"),
        "117 steps of 144 photos, 12 minutes on two cores; Recall@1 on the validation cities 62.1 %",
    ),
)  # fmt: skip
"""The numbers in `shipped` are those of assets/weights/README.md."""


def stage(key: str) -> Stage:
    """The stage called key; the student's for an unknown one."""
    return next((one for one in STAGES if one.key == key), STAGES[2])
