"""The supervisor: it starts the other processes and replaces one that dies."""
