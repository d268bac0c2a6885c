"""What an AudioSet tagger hears, and how people say it."""
