"""What a CLAP is: audio in, windows, embeddings, scores; and the checkpoints that hold one.

Nothing here knows HTTP, Redis, training or evaluation. The modules on the data's way to the encoder (`audio`,
`windows`, `prompts`, `scores`, `config`) need no torch, so that processes without a model start fast and stay small.
"""
