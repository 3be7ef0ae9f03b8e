"""SciceVPR Studio: see and trust visual place recognition.

    import scicevpr

    model = scicevpr.load_model("scicevpr-t")
    data = scicevpr.Dataset.open("datasets/pitts30k")
    print(scicevpr.evaluate(model, data).overall.recalls)

The names below are what most programs need; each is imported when it is first used, so that this costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scicevpr.datasets.dataset import Dataset
    from scicevpr.descriptors.describe import describe
    from scicevpr.evaluation.benchmark import evaluate
    from scicevpr.explanations.explanation import Explanation as explain
    from scicevpr.hub.load import load_model
    from scicevpr.retrieval.factory import make_index

__all__ = ["Dataset", "describe", "evaluate", "explain", "load_model", "make_index"]
__version__ = "0.1.0"

_WHERE = {
    "Dataset": "datasets.dataset.Dataset",
    "describe": "descriptors.describe.describe",
    "evaluate": "evaluation.benchmark.evaluate",
    "explain": "explanations.explanation.Explanation",
    "load_model": "hub.load.load_model",
    "make_index": "retrieval.factory.make_index",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'scicevpr' has no attribute {name!r}")
    module, _, attribute = _WHERE[name].rpartition(".")
    return getattr(import_module(f"scicevpr.{module}"), attribute)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
