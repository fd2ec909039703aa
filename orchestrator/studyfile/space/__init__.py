"""The search space of a study: domains, how a file writes them, and the trials that the space holds."""
