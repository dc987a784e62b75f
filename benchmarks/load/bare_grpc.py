"""The gRPC side of the bare server."""

from collections.abc import Callable
from typing import Any

import grpc
import numpy as np

from feint.openinference import proto


async def started(infer: Callable[[np.ndarray], np.ndarray], name: str, output: str, port: int) -> Any:
    """Return a running grpc.aio server that answers ModelInfer with raw contents."""

    async def answer(request: Any, context: Any) -> Any:
        x = np.frombuffer(request.raw_input_contents[0], "<f4").reshape(list(request.inputs[0].shape))
        p = infer(x)
        response = proto.ModelInferResponse(model_name=request.model_name, raw_output_contents=[p.tobytes()])
        response.outputs.add(name=output, datatype="FP32", shape=list(p.shape))
        return response

    handler = grpc.unary_unary_rpc_method_handler(
        answer,
        request_deserializer=proto.ModelInferRequest.FromString,
        response_serializer=proto.ModelInferResponse.SerializeToString,
    )
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(proto.SERVICE, {"ModelInfer": handler})])
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    return server
