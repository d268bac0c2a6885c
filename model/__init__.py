"""CLAP models: audio to windows, embeddings and scores; checkpoints and their importers.

Nothing here depends on HTTP, Redis, training or evaluation. `audio`, `windows`, `prompts`, `scores`, `classify` and
`config` do not import torch, so that processes without a model start fast and stay small.
"""
