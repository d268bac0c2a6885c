"""The weights a run starts with."""
