"""Published place recognition models that torch.hub can load: where they lie and how their authors feed them.

Nothing of them is part of this project: torch.hub fetches their code and weights when somebody asks for one. Left out,
because their repositories have no hub entry point: MixVPR, SuperVLAD and SAGE. Of SelaVPR++ only the float model is
listed: its two-stage model gives two kinds of descriptor, and the search here takes one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from scicevpr.config import Preprocessing

NOT_FOUND = "not found in its repository"


@dataclass(frozen=True)
class HubEntry:
    """One model on torch.hub.

    ``kwargs`` go to the entry point. ``descriptor_dim`` is what they lead to, checked when the model is loaded (None:
    not published). ``link`` is where these facts were read; ``note`` is what a user should know before using it.
    """

    name: str
    title: str
    repository: str
    entry: str
    preprocessing: Preprocessing
    descriptor_dim: int | None
    licence: str
    trained_on: str
    link: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""


def _size(rows: int, columns: int, interpolation: str = "bilinear") -> Preprocessing:
    """Antialiased, as torchvision resizes by default."""
    return Preprocessing(size=(rows, columns), antialias=True, interpolation=interpolation)


_NO_SIZE = "its README states no input size; 224x224 is this project's default"
_NO_RESIZE = "its authors do not resize; 480x640 is the size of Pitts30k's photos"

_ENTRIES = (
    HubEntry(
        name="megaloc",
        title="MegaLoc",
        repository="gmberton/MegaLoc",
        entry="get_trained_model",
        preprocessing=_size(322, 322),
        descriptor_dim=8448,
        licence="MIT",
        trained_on="several data sets, see its paper (arXiv 2502.17237)",
        link="https://github.com/gmberton/MegaLoc/issues/2",
    ),
    HubEntry(
        name="salad",
        title="DINOv2 SALAD",
        repository="serizba/salad",
        entry="dinov2_salad",
        preprocessing=_size(322, 322),
        descriptor_dim=8448,
        licence="GPL-3.0",
        trained_on="GSV-Cities",
        link="https://github.com/serizba/salad",
        note="GPL-3.0: mind its terms when you pass on a work that contains it",
    ),
    HubEntry(
        name="boq",
        title="BoQ (DINOv2)",
        repository="amaralibey/bag-of-queries",
        entry="get_trained_boq",
        kwargs={"backbone_name": "dinov2", "output_dim": 12288},
        preprocessing=_size(322, 322, "bicubic"),
        descriptor_dim=12288,
        licence="MIT",
        trained_on="GSV-Cities",
        link="https://github.com/amaralibey/Bag-of-Queries",
    ),
    HubEntry(
        name="boq-r50",
        title="BoQ (ResNet50)",
        repository="amaralibey/bag-of-queries",
        entry="get_trained_boq",
        kwargs={"backbone_name": "resnet50", "output_dim": 16384},
        preprocessing=_size(384, 384, "bicubic"),
        descriptor_dim=16384,
        licence="MIT",
        trained_on="GSV-Cities",
        link="https://github.com/amaralibey/Bag-of-Queries",
    ),
    HubEntry(
        name="cosplace",
        title="CosPlace",
        repository="gmberton/cosplace",
        entry="get_trained_model",
        kwargs={"backbone": "ResNet50", "fc_output_dim": 2048},
        preprocessing=_size(480, 640),
        descriptor_dim=2048,
        licence=NOT_FOUND,
        trained_on="SF-XL",
        link="https://github.com/gmberton/CosPlace/issues/6",
        note=_NO_RESIZE,
    ),
    HubEntry(
        name="eigenplaces",
        title="EigenPlaces",
        repository="gmberton/eigenplaces",
        entry="get_trained_model",
        kwargs={"backbone": "ResNet50", "fc_output_dim": 2048},
        preprocessing=_size(480, 640),
        descriptor_dim=2048,
        licence="MIT",
        trained_on="SF-XL",
        link="https://github.com/gmberton/EigenPlaces/issues/9",
        note=_NO_RESIZE,
    ),
    HubEntry(
        name="cricavpr-official",
        title="CricaVPR (its authors' code)",
        repository="Lu-Feng/CricaVPR",
        entry="trained_model",
        preprocessing=Preprocessing(),
        descriptor_dim=10752,
        licence="MIT",
        trained_on="GSV-Cities",
        link="https://github.com/Lu-Feng/CricaVPR",
        note="this project's cricavpr-b loads the same weights into its own code",
    ),
    HubEntry(
        name="selavpr++",
        title="SelaVPR++ (DINOv2-L)",
        repository="Lu-Feng/SelaVPRplusplus",
        entry="SelaVPRplusplus",
        kwargs={"backbone": "dinov2-large", "aggregation": "gem", "hashing": False, "rerank": False},
        preprocessing=_size(224, 224),
        descriptor_dim=None,
        licence="MIT",
        trained_on="its authors' unified data set",
        link="https://github.com/Lu-Feng/SelaVPRplusplus",
        note=_NO_SIZE,
    ),
    HubEntry(
        name="image4vpr",
        title="ImAge",
        repository="Lu-Feng/ImAge",
        entry="ImAge",
        preprocessing=_size(224, 224),
        descriptor_dim=6144,
        licence=NOT_FOUND,
        trained_on="GSV-Cities or its authors' unified data set; its README does not say which this entry loads",
        link="https://github.com/Lu-Feng/ImAge",
        note=_NO_SIZE,
    ),
    HubEntry(
        name="edtformer",
        title="EDTformer",
        repository="Tong-Jin01/EDTformer",
        entry="EDTformer",
        preprocessing=_size(322, 322),
        descriptor_dim=4096,
        licence=NOT_FOUND,
        trained_on="GSV-Cities",
        link="https://github.com/Tong-Jin01/EDTformer",
    ),
)

KNOWN: dict[str, HubEntry] = {entry.name: entry for entry in _ENTRIES}
"""Known models by the name that `load_external`, `--model` and the app accept."""
