"""Hands a launch to what runs jobs on clusters: ``python -m orchestrator.submit slurm SPEC`` and its like.

A study file is checked before anything is submitted. Each kind of cluster is a module with `add_parser`, which adds
its subcommand and sets ``run`` (options -> exit code). What is submitted are the files of ``deploy/``, which
``templates/`` holds as links, so that an installed package has them as well.
"""
