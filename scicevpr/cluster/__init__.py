"""Describe very many photos: in shards that survive an interruption, on this machine or on a Ray cluster."""

from scicevpr.cluster.describing import LocalEngine, ShardedDescribing
from scicevpr.cluster.ray_cluster import RayEngine, require_ray
from scicevpr.cluster.shards import SHARD_PHOTOS

__all__ = ["SHARD_PHOTOS", "LocalEngine", "RayEngine", "ShardedDescribing", "require_ray"]
