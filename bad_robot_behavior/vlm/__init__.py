"""Model clients behind one Protocol, their prompts and their cache. Nothing unscrubbed comes here."""
