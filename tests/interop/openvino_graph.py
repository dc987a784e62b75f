"""OpenVINO beside the service: python openvino_graph.py NAME.onnx ROWS.npz, of inputs `rows` and, by the names of the
graph's outputs, what the service says."""

import sys

import numpy as np
import openvino

FILE, ROWS = sys.argv[1:]
answers = dict(np.load(ROWS))
rows = answers.pop("rows")
model = openvino.Core().compile_model(FILE, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})  # else bfloat16 where it can
assert {output.any_name for output in model.outputs} == set(answers)
for batch in (rows[:1], rows[:2], rows[:7], rows):
    outputs = model(batch)
    for name, expected in answers.items():
        expected, q = expected[: len(batch)], outputs[name]
        assert abs(q - expected).max() <= 1e-5, name
        assert q.ndim == 1 or (q.argmax(-1) == expected.argmax(-1)).all(), name
print(len(rows))
