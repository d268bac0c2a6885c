"""Training data: manifests, data sets and shards; sampling; batches."""
