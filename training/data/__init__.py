"""From manifests, data sets and shards to batches."""
