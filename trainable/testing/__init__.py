"""The contract of each kind of part, for the tests of one's own: ``from trainable.testing import MechanismContract``.

A class derived from a contract is found by pytest and has a test for each rule; ``check_mechanism(MyMechanism, q=0.5)``
runs them all where there is no pytest. The product's own parts pass the same contracts.
"""

from trainable.testing.contract import Contract
from trainable.testing.data_sets import DataSetContract, check_data_set
from trainable.testing.losses import LossContract, check_loss
from trainable.testing.mechanisms import MechanismContract, check_mechanism
from trainable.testing.metrics import MetricContract, check_metric
from trainable.testing.models import ModelContract, check_model
from trainable.testing.samplings import SamplingContract, check_sampling

__all__ = [
    "Contract",
    "DataSetContract",
    "LossContract",
    "MechanismContract",
    "MetricContract",
    "ModelContract",
    "SamplingContract",
    "check_data_set",
    "check_loss",
    "check_mechanism",
    "check_metric",
    "check_model",
    "check_sampling",
]
