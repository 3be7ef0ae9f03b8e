"""How good the answers are: metrics, the benchmark, intervals and comparisons, and what a batch does to a model."""
