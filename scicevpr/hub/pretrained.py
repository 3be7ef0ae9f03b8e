"""Whole models in a folder or a Hub repository: model.safetensors, config.json and the model card README.md."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import ModelCardData

from scicevpr.config import EFFICIENTNET_LITE0, REGION_COUNT, VARIANTS, Preprocessing, Variant
from scicevpr.errors import UsageError, WeightsError
from scicevpr.files.reading import read_json
from scicevpr.hub.download import HUB, explain_push, fetch, hub_endpoint, is_ours
from scicevpr.hub.load import load_model
from scicevpr.hub.sources import MODEL_FILE, NO_OFFICIAL_WEIGHTS, HubFile, LocalFile, Source, address, parse_source
from scicevpr.models.devices import choose_device
from scicevpr.models.efficientnet_lite import licence_text
from scicevpr.models.model import VPRModel
from scicevpr.models.native_checkpoints import check_fingerprint, hash_tensors, save_weights

CONFIG_FILE, CARD_FILE = "config.json", "README.md"
MAX_CONFIG = 2**20  # bytes
STEM_LICENCE_FILE = f"LICENSE.{EFFICIENTNET_LITE0.name}.txt"

_FAMILIES = {
    "scicevpr": "SciceVPR: multi-layer feature fusion on a frozen backbone, and a self-enhanced encoder. A descriptor "
    "depends on its own photo alone.",
    "super-cricavpr": "Super-CricaVPR, the teacher of SciceVPR: multi-layer feature fusion and a cross-image encoder. "
    "A descriptor depends on the photos that share its batch, so give the batch with every number.",
    "cricavpr": "CricaVPR (Lu et al., CVPR 2024): a backbone with multi-scale convolution adapters and a cross-image "
    "encoder. A descriptor depends on the photos that share its batch, so give the batch with every number.",
}
_TAGS = ["visual-place-recognition", "image-retrieval"]


def save_pretrained(model: VPRModel, folder: str | Path, **card: Any) -> None:
    """Write model.safetensors (this project's format, float32, whole), config.json and a model card into a folder, with
    a frozen stem its licence too, for `from_pretrained` and `scicevpr.hub.load.load_model`. The model stays as it is,
    and so does a README.md that is there. card: see `model_card`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = model.weights
    if weights is None:
        info = {"trained": "false", "trained_on": "nothing: random weights"}
    else:
        info = {**dict(weights.metadata), "trained": str(weights.trained).lower(), "trained_on": weights.trained_on}
    try:
        written = save_weights(model, folder / MODEL_FILE, info=info)
    finally:
        model.weights = weights
    variant = model.variant
    config = {
        "library_name": "scicevpr",
        "variant": variant.name,
        "family": variant.family,
        "fingerprint": variant.fingerprint,
        "descriptor_dim": variant.descriptor_dim,
        "preprocessing": asdict(variant.preprocessing),
        "weights_sha256": written.sha256,
        **info,
    }
    if variant.backbone.hybrid:
        (folder / STEM_LICENCE_FILE).write_text(licence_text(), encoding="utf-8")
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    if not (folder / CARD_FILE).exists():
        (folder / CARD_FILE).write_text(model_card(model, **card), encoding="utf-8")


def from_pretrained(
    source: str | Path,
    *,
    revision: str | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    local_files_only: bool = False,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
) -> VPRModel:
    """A model from a folder or a Hub repository ("org/name") that `save_pretrained` or `push_to_hub` wrote.

    revision: branch, tag or commit. The configuration's architecture and preprocessing, the file's own metadata and the
    tensors' hash must agree. Raises WeightsError where they do not, where there is no configuration, and where a
    download fails.
    """
    parsed = _folder_or_repository(source, revision)
    options: dict[str, Any] = {"local_files_only": local_files_only, "token": token, "cache": cache_dir}
    config_path = fetch(_beside(parsed, CONFIG_FILE), **options)
    variant, config = _read_config(config_path)
    path = fetch(_beside(parsed, MODEL_FILE), **options)
    model = load_model(path, variant=variant.name)
    found = hash_tensors(model.state_dict())
    if config.get("weights_sha256", found) != found:
        raise WeightsError(
            f"{config_path} belongs to weights {config['weights_sha256']}, but {path} holds {found}. "
            "Take both files from the same release."
        )
    model.variant = variant
    if model.weights is not None:
        model.weights = replace(model.weights, source=parsed.text)
    return model.to(device=choose_device(device), dtype=dtype)


def push_to_hub(
    model: VPRModel,
    repo: str,
    *,
    private: bool | None = None,
    token: str | None = None,
    endpoint: str | None = None,
    commit_message: str = "Weights, configuration and model card",
    branch: str | None = None,
    create_pr: bool | None = None,
    **card: Any,
) -> str:
    """Upload what `save_pretrained` writes to a Hub repository in one commit; it is made if it is missing.

    card: `results` and `licence`, see `model_card`. Returns the commit's address. Raises WeightsError when the Hub
    cannot be reached or refuses.
    """
    from huggingface_hub import HfApi

    hub = hub_endpoint(endpoint)
    api = HfApi(endpoint=hub, token=token, library_name="scicevpr")
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(model, folder, repo=repo, **card)
        try:
            made = api.create_repo(repo, private=private, exist_ok=True)
            done = api.upload_folder(
                repo_id=made.repo_id, folder_path=folder, commit_message=commit_message, revision=branch,
                create_pr=create_pr,
            )  # fmt: skip
        except Exception as error:  # the Hub's transports raise errors of several libraries
            if is_ours(error):
                raise
            raise explain_push(error, repo, hub or HUB) from error
    return str(done)


def _folder_or_repository(source: str | Path, revision: str | None) -> Source:
    parsed = parse_source(source)
    place = parsed.places[0]
    if isinstance(place, HubFile) and not parsed.registered:
        return replace(parsed, places=(replace(place, revision=revision or place.revision),))
    if isinstance(place, LocalFile) and (place.path / CONFIG_FILE).is_file():
        return parsed
    raise WeightsError(
        f"{source} is neither a folder with {CONFIG_FILE} and {MODEL_FILE} nor a Hub repository (org/name). Single "
        "weights files are read by scicevpr.load_model."
    )


def _beside(source: Source, file: str) -> Source:
    place = source.places[0]
    beside = replace(place, file=file) if isinstance(place, HubFile) else LocalFile(Path(address(place)) / file)
    return replace(source, places=(beside,))


def _read_config(path: Path) -> tuple[Variant, dict[str, Any]]:
    """(The variant that a configuration describes, with its preprocessing; all of the configuration.)"""
    config = read_json(path, WeightsError, "Take it from the release again.", MAX_CONFIG)
    name = config.get("variant") if isinstance(config, dict) else None
    if not isinstance(name, str) or name not in VARIANTS:
        raise WeightsError(
            f"{path} is for the model {name!r}, which this version does not know. Known: {', '.join(VARIANTS)}."
        )
    variant = VARIANTS[name]
    try:
        stated = {
            key: tuple(value) if isinstance(value, list) else value for key, value in config["preprocessing"].items()
        }
        variant = replace(variant, preprocessing=Preprocessing(**stated))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise WeightsError(f"{path} states no preprocessing that this version understands ({error}).") from error
    check_fingerprint(path, config, variant.fingerprint, name)
    return variant, config


def model_card(
    model: VPRModel, *, results: Sequence[Mapping[str, Any]] = (), licence: str | None = None, repo: str | None = None
) -> str:
    """Markdown with a YAML header, ready to be README.md.

    results: measured scores, as `scicevpr evaluate --json` writes them under "results"; UsageError when they were
    measured with other weights or another model. licence: the Hub's identifier, such as "mit"; None takes a `licence`
    recorded in the weights, or says that none is stated. repo: where the card will stand, for the code sample.
    """
    variant, weights = model.variant, model.weights
    recorded = dict(weights.metadata) if weights else {}
    licence = (licence or recorded.pop("licence", "")).lower() or None
    trained = weights is not None and weights.trained
    header = ModelCardData(
        license=licence, library_name="scicevpr", pipeline_tag="image-feature-extraction", tags=_TAGS
    )
    rows = {
        "Trained on": weights.trained_on if weights else "nothing: random weights",
        "Variant": f"`{variant.name}`, architecture fingerprint `{variant.fingerprint}`",
        "Weights": f"hash `{weights.sha256}`, from `{weights.source}`" if weights else "random",
        "Input": _input(variant),
        "Descriptor": f"{variant.descriptor_dim} dimensions ({REGION_COUNT} x {variant.channels}), of unit length",
        **{key.replace("_", " ").capitalize(): value for key, value in sorted(recorded.items())},
    }
    if variant.backbone.hybrid:
        stem = EFFICIENTNET_LITE0
        rows["Frozen stem"] = f"{stem.title}: {stem.source}; package {stem.package} {stem.version}, {stem.licence}"
    lines = ["---", header.to_yaml(), "---", f"# {variant.title}", "", _FAMILIES[variant.family], ""]
    if not trained:
        lines += ["**NOT trained: these weights are random or untrained, and their descriptors mean nothing.**", ""]
    lines += [
        "This page is **not official**: it was made with SciceVPR Studio by whoever published it, not by the papers' "
        f"authors. {NO_OFFICIAL_WEIGHTS}",
        "",
        "| | |",
        "| --- | --- |",
        *(f"| {key} | {_cell(value)} |" for key, value in rows.items()),
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
        "from scicevpr import describe",
        "from scicevpr.hub.pretrained import from_pretrained",
        "",
        f'model = from_pretrained("{repo or "this/repository"}")',
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
