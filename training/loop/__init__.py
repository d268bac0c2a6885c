"""The training run: steps, validation, saved states, checkpoints."""
