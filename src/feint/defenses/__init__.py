"""The rooms on the line: `access` (may you ask?), `boundary` (a new model) and `outputs` (output perturbation)."""

from feint.defenses import access, boundary, outputs, scores

__all__ = ["access", "boundary", "outputs", "scores"]
