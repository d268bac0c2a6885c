"""How the bundled checkpoint is made."""
