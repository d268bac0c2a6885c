"""The protocol between API processes and workers."""
