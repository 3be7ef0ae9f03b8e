"""The model card (README.md) that goes with saved weights: what they are, and what is not known of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from scicevpr.config import EFFICIENTNET_LITE0, Variant
from scicevpr.errors import UsageError
from scicevpr.hub.sources import NO_OFFICIAL_WEIGHTS

if TYPE_CHECKING:
    from scicevpr.models.model import VPRModel

_FAMILIES = {
    "scicevpr": "SciceVPR: multi-layer feature fusion on a frozen backbone, and a self-enhanced encoder. A descriptor "
    "depends on its own photo alone.",
    "super-cricavpr": "Super-CricaVPR, the teacher of SciceVPR: multi-layer feature fusion and a cross-image encoder. "
    "A descriptor depends on the photos that share its batch, so give the batch with every number.",
    "cricavpr": "CricaVPR (Lu et al., CVPR 2024): a backbone with multi-scale convolution adapters and a cross-image "
    "encoder. A descriptor depends on the photos that share its batch, so give the batch with every number.",
}
_TAGS = ("visual-place-recognition", "image-retrieval", "pytorch_model_hub_mixin", "model_hub_mixin")


def model_card(
    model: VPRModel,
    *,
    results: Sequence[Mapping[str, Any]] = (),
    licence: str | None = None,
    repo: str | None = None,
) -> str:
    """Markdown with a YAML header, ready to be README.md.

    Args:
        results: measured scores, as `scicevpr evaluate --json` writes them under "results".
        licence: the Hub's identifier, such as "mit"; None takes a `licence` recorded in the weights, or says that none
            is stated.
        repo: where the card will stand, for the code sample.

    Raises:
        UsageError: results that were measured with other weights or another model.
    """
    variant, weights = model.variant, model.weights
    recorded = dict(weights.facts) if weights else {}
    licence = (licence or recorded.pop("licence", "")).lower() or None
    trained = weights is not None and weights.trained
    header = [
        "library_name: scicevpr",
        "pipeline_tag: image-feature-extraction",
        "tags:",
        *(f"- {tag}" for tag in _TAGS),
    ]
    if licence:
        header.insert(0, f"license: {licence}")
    facts = {
        "Trained on": weights.trained_on if weights else "nothing: random weights",
        "Variant": f"`{variant.name}`, architecture fingerprint `{variant.fingerprint}`",
        "Weights": f"hash `{weights.sha256}`, from `{weights.source}`" if weights else "random",
        "Input": _input(variant),
        "Descriptor": f"{variant.descriptor_dim} values of unit length (14 regions of {variant.channels})",
        **{key.replace("_", " ").capitalize(): value for key, value in sorted(recorded.items())},
    }
    if variant.backbone.hybrid:
        stem = EFFICIENTNET_LITE0
        facts["Frozen stem"] = f"{stem.title}: {stem.source}; package {stem.package} {stem.version}, {stem.licence}"
    lines = ["---", *header, "---", f"# {variant.title}", "", _FAMILIES[variant.family], ""]
    if not trained:
        lines += ["**NOT trained: these weights are random or untrained, and their descriptors mean nothing.**", ""]
    lines += [
        "This page is **not official**: it was made with SciceVPR Studio by whoever published it, not by the papers' "
        f"authors. {NO_OFFICIAL_WEIGHTS}",
        "",
        "| | |",
        "| --- | --- |",
        *(f"| {key} | {_cell(value)} |" for key, value in facts.items()),
        "",
        "## Measured",
        "",
        *_measured(model, results),
        "",
        "## Licence",
        "",
        f"`{licence}`." if licence else "None is stated; ask whoever published this page before using the weights.",
        "",
        "## Use",
        "",
        "```python",
        "from scicevpr.describe.describing import describe",
        "from scicevpr.models import VPRModel",
        "",
        f'model = VPRModel.from_pretrained("{repo or "this/repository"}")',
        'descriptors = describe(model, ["photo.jpg"]).values  # [1, ' + str(variant.descriptor_dim) + "]",
        "```",
        "",
    ]
    return "\n".join(lines)


def _input(variant: Variant) -> str:
    values = variant.preprocessing
    if values.antialias:
        return f"RGB photo, {values.label()}, then (x - {values.mean[0] * 255:g}) / {values.std[0] * 255:g}"
    return f"RGB photo, normalised with ImageNet mean and deviation, then {values.label()}"


def _measured(model: VPRModel, results: Sequence[Mapping[str, Any]]) -> list[str]:
    if not results:
        return ["No measured numbers were given with these weights."]
    lines = []
    for result in results:
        protocol = result.get("protocol") or {}
        measured = f"{protocol.get('variant')} {str(protocol.get('weights')).partition(' ')[0]}"
        these = f"{model.variant.name} {model.weights.sha256 if model.weights else 'without weights'}"
        if measured != these:
            raise UsageError(
                f"The results of {result.get('title', 'an unnamed model')} were measured with {measured}, but the card "
                f"is for {these}. Give only results of these weights."
            )
        rows = {**(result.get("conditions") or {}), "all": result.get("overall")}
        rows = {name: scores for name, scores in rows.items() if scores}
        if not rows:
            continue
        ns = list(next(iter(rows.values()))["recall_percent"])
        lines += ["| condition | queries | " + " | ".join(f"R@{n}" for n in ns) + " |", "| --- " * (len(ns) + 2) + "|"]
        for name, scores in rows.items():
            recalls = " | ".join(f"{scores['recall_percent'][n]:.1f}" for n in ns)
            lines.append(f"| {_cell(name)} | {scores['queries']} | {recalls} |")
        lines += ["", "Protocol: " + " · ".join(f"{key} {value}" for key, value in protocol.items()), ""]
    return lines or ["The results given hold no scores (a set without labels)."]


def _cell(text: Any) -> str:
    return " ".join(str(text).replace("|", "\\|").split())
