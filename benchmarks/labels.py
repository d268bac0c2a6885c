"""The labels of every request."""

LABELS = ("dog", "rain", "sea waves", "crying baby", "clock tick", "person sneezing", "helicopter", "chainsaw")
