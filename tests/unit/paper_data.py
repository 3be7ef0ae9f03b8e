"""Small data for every figure for paper, without models."""

from __future__ import annotations

import numpy as np
import pandas as pd
from PIL import Image
from small_results import result

from scicevpr.figures.paper.batches import AttentionData, CurveData
from scicevpr.figures.paper.maps import FusionData, MapStep, RegionData, RegionScores
from scicevpr.figures.paper.retrieval import Answer, PairData, StripData
from scicevpr.figures.paper.scores import result_data
from scicevpr.models.regions import region_boxes

PROTOCOL = "Street (test): 12 database photos; right within 25 m. Model: weights abc123, 224x224."
LONG = "A model with an unusually long name, of other people, fine-tuned twice"


def photo(seed: int = 0, size: tuple[int, int] = (120, 90)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize(size)


def curves() -> CurveData:
    rows = []
    for model, moves in (("SciceVPR-T", 0), ("CricaVPR-T", 3)):
        for size, order, seed in ((1, "file", None), (4, "file", None), (4, "shuffled", 0), (4, "shuffled", 1)):
            flips = moves * (size > 1) + (seed or 0) * moves
            recall = 75.0 - flips / 3
            rows.append(
                {"model": model, "order": order, "size": size, "seed": seed, "recall_1": recall, "flips": flips}
            )  # fmt: skip
    return CurveData(pd.DataFrame(rows), 36, PROTOCOL)


def pairs() -> PairData:
    rows = []
    for model in ("SciceVPR-T", "CricaVPR-T"):
        for query, partner in ((3, None), (5, None), (3, 5), (5, 3)):
            rows.append(
                {"model": model, "query": query, "batch": "alone" if partner is None else "pair", "partner": partner,
                 "first": query + (partner is not None and model == "CricaVPR-T"), "similarity": 0.91234567,
                 "metres": 4.5, "right": partner is None}
            )  # fmt: skip
    found = {row: photo(row) for row in (3, 4, 5, 6)}
    names = {row: f"photo-{row}.jpg" for row in (3, 4, 5, 6)}
    statistics = {"pairs": 100, "changed": 12.0, "lost": 3.0}
    return PairData(pd.DataFrame(rows), (3, 5), found, found, names, names, statistics, "CricaVPR-T", PROTOCOL)


def regions() -> RegionData:
    boxes = region_boxes()
    names = tuple(box.name for box in boxes)
    models = [
        RegionScores(title, names, np.linspace(0.4, 0.99, 14) - shift, np.full(14, 0.06))
        for title, shift in (("CricaVPR-T", 0.0), ("SciceVPR-T", 0.1), (LONG, 0.2))
    ]
    return RegionData(photo(1), photo(2), "query.jpg", "match.jpg", "3 m away", boxes, tuple(models), PROTOCOL)


def fusion() -> FusionData:
    values = np.random.default_rng(0).random((16, 16))
    steps = [MapStep(f"contribution:{b}", f"block {b} adds", "contribution", values * b, 0.25) for b in (8, 9, 10, 11)]
    steps.append(MapStep("energy:fused", "1×1 convolution", "fused", values))
    steps += [MapStep(f"energy:mixer{n}", f"token mixer {n}", "mixers", values**n) for n in (1, 2)]
    return FusionData("SciceVPR-T", photo(), "query.jpg", tuple(steps), PROTOCOL)


def attention() -> AttentionData:
    random, count = np.random.default_rng(0), 8
    weights = random.random((count, count))
    names = tuple(f"photo-{number}.jpg" for number in range(count))
    regions = ("class token", *(box.name for box in region_boxes()[1:]))
    photos = tuple(photo(number) for number in range(count))
    weights /= weights.sum(axis=1, keepdims=True)
    return AttentionData("CricaVPR-T", photos, names, regions, weights, random.random((count, 14)), PROTOCOL)


def strip() -> StripData:
    def answer(rank: int, right: bool | None) -> Answer:
        here = None if rank == 2 else photo(rank, (90, 120) if rank == 1 else (120, 90))
        return Answer(here, f"match-{rank}.jpg", 0.9 - 0.01 * rank, 123456.0 * rank, right)

    rows = [(title, tuple(answer(rank, rank != 1) for rank in range(5))) for title in ("SciceVPR-T", LONG)]
    return StripData(photo(9), "@500000@4000000@32@U@@@pano7@@@@@@@night@.jpg", tuple(rows), PROTOCOL)


def results():
    models = [result({0, 5}, "SciceVPR-T").with_intervals(), result({0, 7, 9}, LONG).with_intervals()]
    return result_data(models)


DATA = {
    "figure-1": pairs,
    "figure-2": curves,
    "figure-4": regions,
    "fusion": fusion,
    "attention": attention,
    "strip": strip,
    "recall": results,
    "conditions": results,
    "table": results,
}
