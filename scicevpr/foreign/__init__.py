"""Models of other people beside ours: any torch.hub entry or callable, made to fit the rest of the library."""

from scicevpr.foreign.adapter import BATCH_TOLERANCE, ForeignModel, ForeignVariant, probe_batch_dependence
from scicevpr.foreign.loading import load_any, load_foreign
from scicevpr.foreign.registry import KNOWN, HubEntry
from scicevpr.foreign.source import is_foreign

__all__ = [
    "BATCH_TOLERANCE",
    "KNOWN",
    "ForeignModel",
    "ForeignVariant",
    "HubEntry",
    "is_foreign",
    "load_any",
    "load_foreign",
    "probe_batch_dependence",
]
