"""Inspection: finds by looking and by measuring how a raw model is used."""

from feint.victims.inspection.input_candidates import input_candidates
from feint.victims.inspection.inspect import Inspection, inspect_model
from feint.victims.inspection.trials import Trial, best_order, best_trial, clearly_better, run_trials

__all__ = [
    "Inspection",
    "Trial",
    "best_order",
    "best_trial",
    "clearly_better",
    "input_candidates",
    "inspect_model",
    "run_trials",
]
