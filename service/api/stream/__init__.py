"""`WS /v1/stream`: live audio in, scores at each hop out."""
