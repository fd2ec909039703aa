"""Studies of class suppression: Optuna decides, Ray Tune executes, trial directories remember, MLflow shows."""

__version__ = "0.1.0"
