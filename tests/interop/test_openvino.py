"""Files of `feint export` in other runtimes, each in its own environment."""

import json
from functools import partial

import numpy as np
import pytest
from tests import examples
from tests.interop.environments import run_script
from tests.support.problems import edge_case_rows

from feint import Defense, export
from feint.defenses.outputs import LabelOnly
from feint.gateway.backends.onnx_model import MOVED, PROBABILITIES, numbered

pytestmark = pytest.mark.interop


@pytest.mark.slow
def test_openvino_equals_the_defenses_on_tied_rows(tmp_path):
    names = "APGP", "APGPClosedForm", "TopK"  # whatever looks at ranks
    ladder, p = examples.ladder_of(names, 10), edge_case_rows(10)
    answers = [rung.outputs[0](p).numpy() for rung in ladder.rungs]
    outputs = dict(zip(numbered(PROBABILITIES, len(names)), answers, strict=True))
    outputs |= dict(zip(numbered(MOVED, len(names)), [abs(q - p.numpy()).sum(-1) for q in answers], strict=True))
    np.savez(tmp_path / "rows.npz", rows=p, **outputs)
    export.outputs(ladder, tmp_path / "q.onnx", classes=10, gateway=True)
    assert run_script("openvino", "openvino_graph.py", str(tmp_path / "q.onnx"), str(tmp_path / "rows.npz")) == str(
        len(p)
    )


@pytest.mark.slow
def test_triton_parses_the_repository(tmp_path):
    make = partial(export.outputs, Defense(outputs=[LabelOnly()]), classes=4)
    export.triton(tmp_path / "toy", make)
    config = json.loads(run_script("interop", "triton_repository.py", str(tmp_path / "toy")))
    assert {key: config[key] for key in ("name", "backend", "maxBatchSize")} == {
        "name": "toy", "backend": "onnxruntime", "maxBatchSize": 1024,
    }  # fmt: skip
    (graph_input,), (graph_output,) = config["input"], config["output"]
    assert graph_input == {"name": "p", "dataType": "TYPE_FP32", "dims": ["4"]}
    assert graph_output == {"name": "probabilities", "dataType": "TYPE_FP32", "dims": ["4"]}
