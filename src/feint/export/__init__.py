"""A model and its output defenses in one ONNX graph, checked against the service before it is written."""

from feint.export.write import Written, onnx, outputs

__all__ = ["Written", "onnx", "outputs"]
