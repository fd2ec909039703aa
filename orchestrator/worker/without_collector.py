"""Importing this switches Python's collector off, until ``ray_trial`` switches it on again.

Modules stay once they are loaded, yet the collector goes through them again and again meanwhile: it is a quarter of the
processor time in which a worker loads torch and Ray Tune.
"""

import gc

gc.disable()
