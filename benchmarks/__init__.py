"""The speed of the service, compared with the bare model and with other ways to serve it: `make bench`."""
