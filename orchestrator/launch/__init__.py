"""One launch of a study: what is left to run, what is checked before, the rounds, the end; or a dry run."""
