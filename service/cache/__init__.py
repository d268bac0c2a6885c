"""Embeddings and label sets that are kept: in the process, and in Redis."""
