"""The worker's side: one attempt at a trial, its machine, and what an epoch leaves to look at."""
