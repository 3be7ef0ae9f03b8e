"""Files: JSON with limits, checksums, safe .npy, descriptors written row by row."""
