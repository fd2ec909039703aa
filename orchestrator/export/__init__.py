"""A study for other programs: databases of Optuna's, TensorBoard's event files, tables.

Values of ``${NAME}`` stay masked.
"""
