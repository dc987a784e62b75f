"""The rooms on the line: `access` (may you ask?) and `outputs` (output perturbation)."""

from feint.defenses import access, outputs

__all__ = ["access", "outputs"]
