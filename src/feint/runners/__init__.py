"""How jobs are mapped: here one after the other, in processes of this machine, or on Ray.

Each runner takes a job and the items that it is to be run on, and yields what comes of them as it comes, in any order;
Python's own `map` is one. Items are taken one by one, as there is room for them: whoever hands them out decides late.
"""

from feint.runners.cluster import ray
from feint.runners.job import Job, Runner
from feint.runners.local import processes

__all__ = ["Job", "Runner", "processes", "ray"]
