"""How good the answers are: metrics on arrays, the benchmark protocol, and two baselines without learning.

Light to import: the benchmark (which needs torch) lives in scicevpr.evaluation.benchmark.
"""

from __future__ import annotations

from scicevpr.evaluation.metrics import f1_at_n, mean_reciprocal_rank, recall_at_n

__all__ = ["f1_at_n", "mean_reciprocal_rank", "recall_at_n"]
