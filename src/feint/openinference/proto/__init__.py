"""Messages over gRPC.

open_inference.proto has those of the Open Inference Protocol v2, health.proto those of gRPC's health checks.

They live in a pool of their own: the packages of other clients of the protocol declare the same names, and a process
that loads both into protobuf's default pool is refused. A descriptor (NAME.binpb, made by
`python -m grpc_tools.protoc --include_imports --descriptor_set_out=…`) serves every protobuf from 6.33 on,
where generated code is tied to the version that made it.
"""

from importlib import resources
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SERVICE, HEALTH = "inference.GRPCInferenceService", "grpc.health.v1.Health"


def _messages(name: str) -> dict[str, Any]:
    pool, files = descriptor_pool.DescriptorPool(), descriptor_pb2.FileDescriptorSet()
    files.ParseFromString(resources.files(__name__).joinpath(f"{name}.binpb").read_bytes())
    for file in files.file:
        pool.Add(file)
    classes = message_factory.GetMessageClassesForFiles([files.file[-1].name], pool)
    package = files.file[-1].package
    return {name.removeprefix(f"{package}."): kind for name, kind in classes.items()}


MESSAGES = _messages("open_inference") | _messages("health")


def __getattr__(name: str) -> Any:
    if name not in MESSAGES:
        raise AttributeError(name)
    return MESSAGES[name]
