"""The one reader of configuration files: YAML with places, ``--set``, ``${NAME}``, and mistakes in words.

Study files, ``python -m trainable`` and ``classes.yaml`` are read here. Imports no torch.
"""
