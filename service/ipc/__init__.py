"""What API processes and workers say to each other."""
