"""Triton, of nvidia-pytriton, with a softmax regression: python triton_server.py FOLDER REST_PORT GRPC_PORT."""

import os
import shutil
import sys
import sysconfig
from pathlib import Path

import pytriton

FOLDER, REST, RPC = Path(sys.argv[1]), *sys.argv[2:]
SERVER = Path(pytriton.__file__).parent / "tritonserver"
CONFIG = """
name: "toy"
backend: "python"
max_batch_size: 64
input [{name: "pixels", data_type: TYPE_FP32, dims: [1, 2, 2]}]
output [{name: "logits", data_type: TYPE_FP32, dims: [3]}, {name: "p", data_type: TYPE_FP32, dims: [3]}]
instance_group [{kind: KIND_CPU, count: 1}]
"""
MODEL = """
import numpy as np
import triton_python_backend_utils as pb

WEIGHTS = (np.arange(12).reshape(4, 3) % 5 - 2.0) * 3  # those of tests/support/upstreams.py


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(pb.get_input_tensor_by_name(request, "pixels").as_numpy()) for request in requests]

    def answer(self, x):
        logits = x.reshape(len(x), -1) @ WEIGHTS
        e = np.exp(logits - logits.max(-1, keepdims=True))
        rows = {"logits": logits, "p": e / e.sum(-1, keepdims=True)}
        return pb.InferenceResponse([pb.Tensor(name, value.astype(np.float32)) for name, value in rows.items()])
"""

model, backend = FOLDER / "models" / "toy", FOLDER / "backends" / "python"
(model / "1").mkdir(parents=True, exist_ok=True)
(model / "config.pbtxt").write_text(CONFIG)
(model / "1" / "model.py").write_text(MODEL)
shutil.copytree(SERVER / "backends" / "python", backend, dirs_exist_ok=True)
version = f"{sys.version_info.major}.{sys.version_info.minor}"
shutil.copy(SERVER / "python_backend_stubs" / version / "triton_python_backend_stub", backend)
libraries = SERVER.parents[1] / "nvidia_pytriton.libs", sysconfig.get_config_var("LIBDIR")
os.environ["LD_LIBRARY_PATH"] = ":".join(map(str, libraries))
os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # whose Python runs the model
os.execv(
    SERVER / "bin" / "tritonserver",
    ["tritonserver", f"--model-repository={FOLDER / 'models'}", f"--backend-directory={FOLDER / 'backends'}",
     f"--http-port={REST}", f"--grpc-port={RPC}", "--http-address=127.0.0.1", "--grpc-address=127.0.0.1",
     "--allow-metrics=false"],
)  # fmt: skip
