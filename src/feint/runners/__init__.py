"""Runners, which map a job over items: here, or on a Ray cluster.

A runner takes a job and its items, and yields the results in order of completion. Python's `map` is one. Items are
taken one by one, as workers become free, so that the caller can decide late which item comes next.
"""

from feint.runners.cluster import ray
from feint.runners.job import Job, Runner
from feint.runners.local import processes

__all__ = ["Job", "Runner", "processes", "ray"]
