"""What an API process does with a request: routes, limits, keys, label sets, scores."""
