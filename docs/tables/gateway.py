"""Tables of the gateway: the errors that clients receive, and the metrics that operators read."""

import re

from docs.tables.rows import grid

from feint.errors import FeintError
from feint.gateway.app import Gateway
from feint.gateway.auth.keys import AnonymousAuth
from feint.gateway.telemetry.metrics import Metrics
from feint.openinference.status import ERROR_STATUSES


def refusals() -> str:
    """Return the table of the gateway's errors, as a client receives them."""
    rows = [["HTTP", "gRPC", "Error", "When"]]
    for error, status in sorted(ERROR_STATUSES.items(), key=lambda pair: pair[1].http):
        if issubclass(error, FeintError):
            when = str(error.__doc__).splitlines()[0]
            rows.append([f"{status.http}", f"`{status.grpc}`", f"`{error.__name__}`", when])
    return grid(rows)


def metrics() -> str:
    """Return the table of /metrics, with the help texts of the metrics."""
    shown = Metrics()
    shown.attach(Gateway({}, AnonymousAuth(), certificate_expires=0.0))
    exposition = shown.text().decode()
    kinds = dict(re.findall(r"^# TYPE (\S+) (\w+)", exposition, re.MULTILINE))
    found = re.findall(r"^# HELP (feint_\S+) (.*)", exposition, re.MULTILINE)
    rows = [[f"`{name}`", kinds[name], f"{what}."] for name, what in found if not name.endswith("_created")]
    return grid([["Metric", "Kind", "What"], *rows])


TABLES = {"refusals": refusals, "metrics": metrics}
