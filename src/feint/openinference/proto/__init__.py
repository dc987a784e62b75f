"""Messages of the Open Inference Protocol v2 over gRPC, as open_inference.proto declares them.

They live in a pool of their own: the packages of other clients of the protocol declare the same names, and a process
that loads both into protobuf's default pool is refused. A descriptor (open_inference.binpb, made by
`python -m grpc_tools.protoc --include_imports --descriptor_set_out=…`) serves every protobuf from 6.33 on,
where generated code is tied to the version that made it.
"""

from importlib import resources
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SERVICE = "inference.GRPCInferenceService"


def _messages() -> dict[str, Any]:
    pool, files = descriptor_pool.DescriptorPool(), descriptor_pb2.FileDescriptorSet()
    files.ParseFromString(resources.files(__name__).joinpath("open_inference.binpb").read_bytes())
    for file in files.file:
        pool.Add(file)
    classes = message_factory.GetMessageClassesForFiles([files.file[-1].name], pool)
    return {name.removeprefix("inference."): kind for name, kind in classes.items()}


MESSAGES = _messages()


def __getattr__(name: str) -> Any:
    if name not in MESSAGES:
        raise AttributeError(name)
    return MESSAGES[name]
