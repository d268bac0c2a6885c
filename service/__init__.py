"""The HTTP service: API processes that decode and score, worker processes that own the model."""
