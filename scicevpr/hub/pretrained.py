"""Whole models in a folder or a Hub repository: model.safetensors, config.json, README.md."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from scicevpr.config import EFFICIENTNET_LITE0, VARIANTS, Preprocessing, Variant
from scicevpr.errors import WeightsError
from scicevpr.files.json_files import read_json
from scicevpr.hub.download import fetch
from scicevpr.hub.repository import HUB, explain_push, hub_endpoint, is_ours
from scicevpr.hub.sources import MODEL_FILE, HubFile, LocalFile, Source, parse_source
from scicevpr.models.efficientnet_lite import licence_text
from scicevpr.models.model import VPRModel
from scicevpr.models.native_checkpoints import check_fingerprint, hash_tensors, save_weights
from scicevpr.models.weights import load_model

CONFIG_FILE = "config.json"
MAX_CONFIG = 2**20  # bytes
STEM_LICENCE_FILE = f"LICENSE.{EFFICIENTNET_LITE0.name}.txt"


def write_pretrained(model: VPRModel, folder: Path) -> None:
    """Write model.safetensors (this project's format, float32, whole) and config.json; with a frozen stem its licence
    too. The model stays as it is."""
    weights = model.weights
    if weights is None:
        info = {"trained": "false", "trained_on": "nothing: random weights"}
    else:
        info = {**dict(weights.facts), "trained": str(weights.trained).lower(), "trained_on": weights.trained_on}
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


def read_pretrained(
    source: str | Path,
    revision: str | None = None,
    *,
    local_files_only: bool = False,
    token: str | bool | None = None,
    cache: str | Path | None = None,
) -> VPRModel:
    """The model in a folder or a Hub repository. `revision`: branch, tag or commit.

    The configuration's architecture and preprocessing, the file's own metadata and the tensors' hash must agree. Raises
    WeightsError where they do not, where there is no configuration, and where a download fails.
    """
    parsed = _folder_or_repository(source, revision)
    options: dict[str, Any] = {"local_files_only": local_files_only, "token": token, "cache": cache}
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
    return model


def push(
    model: VPRModel,
    repo: str,
    *,
    private: bool | None = None,
    token: str | None = None,
    endpoint: str | None = None,
    commit_message: str = "Weights, configuration and model card",
    branch: str | None = None,
    create_pr: bool | None = None,
    card: Mapping[str, Any],
) -> str:
    """Upload a model to a Hub repository in one commit; the repository is made if it is missing.

    Returns the commit's address. Raises WeightsError when the Hub cannot be reached or refuses.
    """
    from huggingface_hub import HfApi

    hub = hub_endpoint(endpoint)
    api = HfApi(endpoint=hub, token=token, library_name="scicevpr")
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder, model_card_kwargs={"repo": repo, **card})
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
        "weights files are read by scicevpr.models.weights.load_model."
    )


def _beside(source: Source, file: str) -> Source:
    place = source.places[0]
    if isinstance(place, HubFile):
        return replace(source, places=(replace(place, file=file),))
    return replace(source, places=(LocalFile(place.path / file),))


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
