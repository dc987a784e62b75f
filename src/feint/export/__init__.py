"""Export of a model and its output defenses as one ONNX graph.

The graph is checked against the service before it is written.
"""

from feint.export.models import require_exportable
from feint.export.repository import kserve, triton
from feint.export.write import Written, onnx, outputs

__all__ = ["Written", "kserve", "onnx", "outputs", "require_exportable", "triton"]
