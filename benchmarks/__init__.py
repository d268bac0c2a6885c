"""How fast the service is, next to the bare model and to what people would serve it with instead: `make bench`."""
