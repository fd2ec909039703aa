"""Studies that are killed by ``chaos.py``: real trials on tiny shapes."""

HEAD = """
study: chaos
objective: {metric: val/miou, mode: max}
data: {name: shapes, size: [32, 32], train_images: 24, val_images: 24}
model: {arch: linknet, encoder: tu-test_resnet, encoder_weights: null}
"""
CELLS = """
train: {epochs: 5, batch_size: 4, lr: 6.0e-3}
suppression:
  p_max: {choice: [0.3, 0.7]}
  layer: {choice: [decoder, encoder.4]}
  sampling: {choice: [{name: difficulty, tau: 1.0}, inverse_frequency]}
search: {sampler: grid, references: []}
resources: {cpu: 1, max_concurrent: 2, retries: 99, retry_backoff_s: 0.1}
"""
SHORT = CELLS.replace("[0.3, 0.7]", "[0.7]").replace("epochs: 5", "epochs: 4")
ONE_PROCESS, TWO_RANKS = "cpu: 1, max_concurrent: 2", "cpu: 2, ranks: 2, max_concurrent: 1"
"""Resources of a study of fixed cells, and what makes its trials train on two ranks."""
HOSTS = CELLS.replace("max_concurrent: 2, ", "")
SEARCH = """
train: {epochs: 8, batch_size: 4, lr: {log_uniform: [1.0e-4, 1.0e-2]}}
suppression:
  p_max: {uniform: [0.0, 1.0]}
  sampling: {choice: [{name: difficulty, tau: {uniform: [0.5, 3.0]}}, uniform]}
search:
  sampler: {name: tpe, startup_trials: 4}
  pruner: {name: asha, grace_epochs: 2, reduction_factor: 2}
  trials: 12
  references: []
resources: {cpu: 1, max_concurrent: 1, retries: 99, retry_backoff_s: 0.1}
"""
PREFIX = """
train: {epochs: 5, batch_size: 4, lr: 6.0e-3}
suppression:
  layer: {choice: [decoder, encoder.4, input]}
  start: {choice: [0.4, 0.8]}
  sampling: {choice: [{name: difficulty, tau: 1.0}, inverse_frequency]}
search: {sampler: grid, seeds: 2, references: []}
resources: {cpu: 1, max_concurrent: 2, retries: 99, retry_backoff_s: 0.1}
"""
