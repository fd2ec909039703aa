"""A study for other programs: Optuna's databases, TensorBoard's event files, tables. Values of ``${NAME}`` stay masked."""
