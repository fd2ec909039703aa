"""Training a trial: ``engine.fit`` yields epoch after epoch; steps, clock, seeds, checkpoints, a probe of the cost."""
