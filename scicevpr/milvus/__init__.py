"""Milvus as an index: a file on one machine (Milvus Lite), or a server, by the same code."""
