"""What is measured, how it is run, kept and shown. Attacks and defenses never compute a metric."""

from feint.evaluation import metrics

__all__ = ["metrics"]
