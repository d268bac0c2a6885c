"""Everything that is to be known about the service on a GPU, in one command of eight minutes: `benchmarks/gpu/run`."""
