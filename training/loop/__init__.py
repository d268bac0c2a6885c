"""The training run: steps, validation, states, checkpoints."""
