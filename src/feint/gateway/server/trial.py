"""Trial of a loaded model: real inputs through the codec and the pipeline, as a client's requests go."""

from dataclasses import dataclass

import numpy as np

from feint.errors import BadInput, Failed, Refused
from feint.gateway.app import Limits
from feint.gateway.array_query import Array, ArrayQuery
from feint.gateway.backends.base import LoadedModel
from feint.gateway.validation import check_probabilities
from feint.ledger import Account
from feint.openinference import grpc_codec, json_client_codec
from feint.openinference.json_codec import HEADER_LENGTH, DecodedRequest, request_codec
from feint.openinference.model_spec import ModelSpec

ROWS = 64  # in a request


@dataclass(frozen=True)
class Trial:
    """Answers to inputs that were sent as JSON, as binary data and over gRPC in turn.

    Attributes:
        p: Answers (n, K) of the first rung.
        answered: Indices (n,) of the inputs that were answered.
        refusal: What an access rule refused the others with, "" for nothing.
    """

    p: Array
    answered: Array
    refusal: str = ""


async def send(loaded: LoadedModel, x: Array) -> Trial:
    """Send inputs to a loaded model, each request as a new client's.

    Args:
        loaded: The model.
        x: Inputs (N, …) of its domain.

    Returns:
        The answers.

    Raises:
        BadInput: The codec does not take the inputs as they were sent.
        Failed: They arrive changed, or the model fails.
    """
    spec = loaded.spec
    if spec is None:
        raise BadInput("a model whose upstream does not answer", "one that can be tried", "start it first")
    batches, refusal = [*range(0, len(x), ROWS)], ""
    answers, rows = [np.zeros((0, spec.classes), np.float32)], [np.zeros(0, np.int64)]
    for n, start in enumerate(batches):
        sent = x[start : start + ROWS]
        request = _arrived(spec, sent, n % 3)
        if _differ(spec, sent, request.x):
            raise Failed("inputs that arrive changed", "the same inputs", "report it with the model's metadata")
        query, account = ArrayQuery(request.x, f"trial {n}"), Account(f"trial {n}")
        try:
            loaded.pipeline.admit(query, account)
            q = await loaded.pipeline.answer(query, await loaded.pipeline.compute(query), account, shadow=True)
        except Refused as error:
            refusal = str(error)
            continue
        answers.append(check_probabilities(q, len(sent), spec.classes))
        rows.append(np.arange(start, start + len(sent)))
    return Trial(np.concatenate(answers), np.concatenate(rows), refusal)


def _arrived(spec: ModelSpec, x: Array, way: int) -> DecodedRequest:
    """Return the request that the gateway reads: by JSON, binary data or gRPC."""
    codec = request_codec(spec, Limits.batch, Limits.body)
    if way == 2:
        message = grpc_codec.encode_request(spec, x).SerializeToString()
        return grpc_codec.read_request(codec, grpc_codec.decode_request(message))
    body, headers = json_client_codec.encode_request(spec, x, binary=bool(way))
    return codec.read(body, headers.get(HEADER_LENGTH, ""))


def _differ(spec: ModelSpec, sent: Array, arrived: Array) -> bool:
    """Return whether inputs count as other ones than those that were sent."""
    assert spec.domain is not None
    return spec.domain.mark(sent) != spec.domain.mark(arrived)
