"""Measuring checkpoints: tasks in their official layouts, zero-shot figures, reports."""
