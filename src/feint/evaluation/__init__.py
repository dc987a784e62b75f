"""Metrics, results and checks of thefts and defenses. Attacks and defenses never compute a metric."""

from feint.evaluation import metrics

__all__ = ["metrics"]
