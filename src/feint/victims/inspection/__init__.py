"""Inspection of a raw model: how it takes inputs and gives answers."""

from feint.victims.inspection.input_candidates import input_candidates
from feint.victims.inspection.inspect import Inspection, inspect_model
from feint.victims.inspection.samples import read_samples
from feint.victims.inspection.trials import (
    LEAST_GAIN,
    UNSURE,
    AdapterTrial,
    above_majority,
    balanced,
    best_order,
    best_trial,
    clearly_better,
    is_chance,
    run_trials,
)

__all__ = [
    "LEAST_GAIN",
    "UNSURE",
    "AdapterTrial",
    "Inspection",
    "above_majority",
    "balanced",
    "best_order",
    "best_trial",
    "clearly_better",
    "input_candidates",
    "inspect_model",
    "is_chance",
    "read_samples",
    "run_trials",
]
