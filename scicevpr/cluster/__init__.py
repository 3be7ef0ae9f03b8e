"""Describe very many photos: in shards that survive an interruption, on this machine or on a Ray cluster."""
