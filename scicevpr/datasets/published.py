"""Published Recall@1, @5 and @10 (percent) of other people's models, each with the page that states it."""

from __future__ import annotations

from dataclasses import dataclass

CRICA = "https://arxiv.org/abs/2402.19231"
D2 = "https://arxiv.org/abs/2511.12528"
SALAD = "https://github.com/serizba/salad"
A2GC = "https://github.com/CV4RA/A2GC"
BOQ = "https://github.com/amaralibey/Bag-of-Queries"
SELA = "https://github.com/Lu-Feng/SelaVPR"
SELA_ISSUE = "https://github.com/Lu-Feng/SelaVPR/issues/1"
MIX = "https://github.com/amaralibey/MixVPR"
MIX_ISSUE = "https://github.com/amaralibey/MixVPR/issues/5"
SAGE = "https://github.com/chenshunpeng/SAGE"
MEGALOC_ISSUE = "https://github.com/gmberton/VPR-methods-evaluation/issues/19"


@dataclass(frozen=True)
class Published:
    """One row of a published table: recalls at 1, 5 and 10 in percent (None: not stated). quoted: by others than the
    model's own authors."""

    method: str
    recalls: tuple[float | None, float | None, float | None]
    source: str
    quoted: bool = False


CRICA_PCA = "CricaVPR 4,096 (PCA), 224 x 224"
CRICA_FULL = "CricaVPR 10,752, 224 x 224"
CRICA_ALONE = "CricaVPR without cross-image encoder"
SALAD_322 = "SALAD 8,448, 322 x 322"
BOQ_322 = "BoQ-DINOv2 12,288, 322 x 322"
MIX_320 = "MixVPR 4,096, 320 x 320"
SELA_TWO = "SelaVPR (two stages, top 100)"
SAGE_B = "SAGE ViT-B without cross-image encoder, 322 x 322"
SAGE_CROSS = "SAGE with cross-image encoder"

PUBLISHED: dict[str, tuple[Published, ...]] = {
    "pitts30k": (
        Published(CRICA_PCA, (94.9, 97.3, 98.2), CRICA),
        Published(CRICA_FULL, (94.8, 97.4, 98.1), CRICA),
        Published(CRICA_ALONE, (90.6, 95.9, 97.2), CRICA),
        Published(SALAD_322, (92.4, 96.3, 97.4), A2GC, quoted=True),
        Published(BOQ_322, (93.7, 97.1, 97.9), BOQ),
        Published(MIX_320, (91.6, 95.5, 96.4), MIX),
        Published(SELA_TWO, (92.8, 96.8, 97.7), SELA),
        Published(SAGE_B, (93.4, 97.0, 97.9), SAGE),
        Published(SAGE_CROSS, (95.8, 97.8, 98.4), SAGE),
    ),
    "pitts250k": (
        Published(CRICA_PCA, (97.5, 99.4, 99.7), D2, quoted=True),
        Published(SALAD_322, (95.1, 98.5, 99.1), A2GC, quoted=True),
        Published(BOQ_322, (96.6, 99.1, 99.5), BOQ),
        Published(MIX_320, (94.3, 98.2, 98.9), MIX),
        Published(SELA_TWO, (95.7, 98.8, 99.2), SELA),
        Published(SAGE_B, (95.7, 98.6, 99.2), SAGE),
    ),
    "tokyo247": (
        Published(CRICA_PCA, (93.0, 97.5, 98.1), CRICA),
        Published(CRICA_FULL, (93.0, 97.1, 97.8), CRICA),
        Published(CRICA_ALONE, (85.1, 93.3, None), CRICA),
        Published(MIX_320, (85.1, 91.7, 94.3), CRICA, quoted=True),
        Published(SELA_TWO, (94.0, 96.8, 97.5), SELA),
        Published(SAGE_B, (97.1, 98.4, 99.0), SAGE),
    ),
    "msls-val": (
        Published(CRICA_PCA, (90.0, 95.4, 96.4), CRICA),
        Published(CRICA_FULL, (89.9, 95.4, 96.2), CRICA),
        Published(CRICA_ALONE, (85.5, 93.2, None), CRICA),
        Published(SALAD_322, (92.2, 96.4, 97.0), SALAD),
        Published(BOQ_322, (93.8, 96.8, 97.0), BOQ),
        Published(MIX_320, (88.2, 93.1, 94.3), MIX),
        Published(SELA_TWO, (90.8, 96.4, 97.2), SELA),
        Published(SAGE_B, (93.4, 97.3, 97.6), SAGE),
        Published("MegaLoc 8,448, 322 x 322 (re-run)", (93.5, 97.0, 97.8), MEGALOC_ISSUE, quoted=True),
    ),
    "msls-val-full": (
        Published(SELA_TWO, (86.6, None, None), SELA_ISSUE),
        Published(MIX_320, (83.4, None, None), MIX_ISSUE),
    ),
    "msls-challenge": (
        Published(CRICA_PCA, (69.0, 82.1, 85.7), CRICA),
        Published(SALAD_322, (75.0, 88.8, 91.3), SALAD),
        Published(BOQ_322, (79.0, 90.3, 92.0), BOQ),
    ),
    "nordland": (
        Published(CRICA_PCA, (90.7, 96.3, 97.6), D2, quoted=True),
        Published("SALAD, 224 x 224", (81.2, 91.1, 94.0), D2, quoted=True),
        Published(BOQ_322, (90.6, 96.0, 97.5), BOQ),
        Published(SAGE_B, (94.1, 98.0, 98.8), SAGE),
    ),
    "nordland-vprbench": (
        Published(SALAD_322, (76.0, 89.2, 92.0), SALAD),
        Published(BOQ_322, (81.3, 92.5, 94.8), BOQ),
    ),
    "amstertime": (
        Published(CRICA_PCA, (64.7, 82.8, 87.5), D2, quoted=True),
        Published(BOQ_322, (63.0, 81.6, 85.1), BOQ),
        Published(SAGE_B, (63.1, 82.5, 86.2), SAGE),
        Published(SAGE_CROSS, (83.5, 93.3, 95.4), SAGE),
    ),
    "sped": (
        Published(CRICA_PCA, (91.9, 95.7, 96.7), D2, quoted=True),
        Published(BOQ_322, (92.5, 95.9, 96.7), BOQ),
        Published(SAGE_B, (91.8, 95.7, 96.5), SAGE),
        Published(SAGE_CROSS, (98.8, 99.7, 100.0), SAGE),
    ),
    "svox-night": (
        Published("BoQ-DINOv2", (97.7, 99.5, 99.8), BOQ),
        Published(SAGE_B, (96.1, 99.4, 99.8), SAGE),
    ),
    "svox-overcast": (
        Published("BoQ-DINOv2", (98.5, 99.3, 99.4), BOQ),
        Published(SAGE_B, (98.2, 99.1, 99.2), SAGE),
    ),
    "svox-rain": (
        Published("BoQ-DINOv2", (98.8, 99.7, 99.8), BOQ),
        Published(SAGE_B, (98.0, 99.4, 99.7), SAGE),
    ),
    "svox-snow": (
        Published("BoQ-DINOv2", (99.4, 99.7, 99.9), BOQ),
        Published(SAGE_B, (99.3, 99.7, 99.8), SAGE),
    ),
    "svox-sun": (
        Published("BoQ-DINOv2", (97.5, 99.4, 99.5), BOQ),
        Published(SAGE_B, (98.0, 99.3, 99.6), SAGE),
    ),
    "st-lucia": (
        Published("BoQ-DINOv2", (99.9, 100.0, 100.0), BOQ),
        Published("SelaVPR", (99.8, 100.0, 100.0), SELA),
    ),
    "eynsham": (
        Published("BoQ-DINOv2", (92.2, 95.6, 96.4), BOQ),
        Published(SAGE_B, (92.3, 95.8, 96.5), SAGE),
    ),
    "sf-xl-v1": (Published("SAGE ViT-B", (92.9, 95.6, 96.5), SAGE),),
    "sf-xl-v2": (Published("SAGE ViT-B", (94.6, 98.0, 98.7), SAGE),),
    "sf-xl-night": (Published("SAGE ViT-B", (53.2, 65.7, 71.5), SAGE),),
    "sf-xl-occlusion": (Published("SAGE ViT-B", (57.9, 64.5, 68.4), SAGE),),
}
