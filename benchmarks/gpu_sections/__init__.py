"""What ``benchmarks/gpu.py`` runs: a module per section, whose ``measure`` yields the rows of its table."""
