"""Recordings to windows, in sandboxed processes."""
