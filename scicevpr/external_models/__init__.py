"""Models of other people beside ours: any torch.hub entry or callable, made to fit the rest of the library."""

from scicevpr.external_models.adapter import BATCH_TOLERANCE, ExternalModel, ExternalVariant, probe_batch_dependence
from scicevpr.external_models.loading import load_any, load_external
from scicevpr.external_models.registry import KNOWN, HubEntry, is_external

__all__ = [
    "BATCH_TOLERANCE",
    "KNOWN",
    "ExternalModel",
    "ExternalVariant",
    "HubEntry",
    "is_external",
    "load_any",
    "load_external",
    "probe_batch_dependence",
]
