"""Models: backbone, fusion, regions, encoders, their compositions and their weights."""
