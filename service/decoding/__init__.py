"""Recordings to windows, in confined processes."""
