"""One module per folder layout: LOOKS_LIKE says how, `recognises` whether a folder is of it, `read` reads it.

A reader gives the photos sorted by path, the positives that the layout itself states, and its notes; what holds for
all layouts (positions, tables, checks) is done afterwards by `scicevpr.datasets.ground_truth_files`.
"""
