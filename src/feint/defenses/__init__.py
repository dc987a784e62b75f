"""The rooms on the line: `access` (may you ask?), `inputs` and `outputs` (input and output perturbation), and beside it
`boundary` (a new model)."""

from feint.defenses import access, boundary, inputs, outputs, scores

__all__ = ["access", "boundary", "inputs", "outputs", "scores"]
