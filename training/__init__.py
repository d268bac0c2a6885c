"""Training checkpoints: data, the training loop, starting weights, captions from a tagger, the bundled checkpoint."""
