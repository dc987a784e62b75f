"""Inspection: finds by looking and by measuring how a raw model is used."""

from feint.victims.inspection.inspect import Inspection, inspect_model
from feint.victims.inspection.trials import Trial, clearly_better, run_trials

__all__ = ["Inspection", "Trial", "clearly_better", "inspect_model", "run_trials"]
