"""The worker process: one device, one model, one queue."""
