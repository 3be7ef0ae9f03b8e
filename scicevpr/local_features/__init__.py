"""Local features: points of a photo with descriptors, pairs of points of two photos, and their geometry."""
