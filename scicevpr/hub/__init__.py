"""Weights from anywhere: known sources, downloads, and this project's models on the Hugging Face Hub."""
