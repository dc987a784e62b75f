"""Blocking transport of the protocol over gRPC."""

import weakref
from typing import Any

import grpc

from feint.openinference import proto, status

OPTIONS = [("grpc.enable_retries", 0), ("grpc.max_receive_message_length", 64 * 2**20)]


class GrpcTransport:
    """Channel to the server of `grpc://HOST:PORT`, or `grpcs://…` for TLS; `timeout` is in seconds."""

    def __init__(self, url: str, timeout: float) -> None:
        scheme, _, target = url.partition("://")
        self._url, self._timeout = url, timeout
        if scheme == "grpcs":
            self._channel = grpc.secure_channel(target, grpc.ssl_channel_credentials(), OPTIONS)
        else:
            self._channel = grpc.insecure_channel(target, OPTIONS)
        weakref.finalize(self, self._channel.close)

    async def __call__(self, call: str, request: Any, key: str) -> Any:
        """Return the response to the request of a call.

        A code other than OK raises the `FeintError` that it stands for, no response at all `Unreachable`.
        """
        send = self._channel.unary_unary(
            f"/{proto.SERVICE}/{call}", type(request).SerializeToString, proto.MESSAGES[f"{call}Response"].FromString
        )
        metadata = (("authorization", f"Bearer {key}"),) if key else ()
        try:
            return send(request, timeout=self._timeout, metadata=metadata)
        except grpc.RpcError as error:
            failure = error_of_call(self._url, error)
            raise failure from error


def error_of_call(url: str, error: Any) -> Exception:
    """Return the error that a failed call stands for."""
    trailing = dict(error.trailing_metadata() or ())
    return status.error_of_grpc(url, error.code().name, str(error.details()), trailing)
