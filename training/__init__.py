"""Making checkpoints: pairs, captions from a tagger, the contrastive loss, the loop and its recipes."""
