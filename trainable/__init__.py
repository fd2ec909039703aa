"""Pure torch: data, model, class suppression, losses, metrics and the training engine of one trial.

Nothing here knows Ray, Optuna or MLflow: any trial runs alone as ``python -m trainable CONFIG``. Importing this
package or one of its ``config`` modules does not import torch.
"""
