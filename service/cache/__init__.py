"""Caches of embeddings in the process and in Redis, and the connection to Redis."""
