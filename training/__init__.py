"""Training of the bundled models, and the procedural city that they are trained on."""
