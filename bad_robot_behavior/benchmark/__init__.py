"""How far a reward model can be trusted: predictions against the human judgements of a release."""
