"""Drawings of results: plotly and pictures for the screen here, for print in `paper`. They know arrays and results."""
