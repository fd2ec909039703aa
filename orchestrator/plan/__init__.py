"""Which trial runs next: Optuna's suggestions, the reference trials and the pruner's verdicts. The room of optuna."""
