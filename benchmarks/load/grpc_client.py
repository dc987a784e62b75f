"""A closed loop of gRPC clients in its own process: `python -m benchmarks.load.grpc_client DIR` prints the load."""

import asyncio
import itertools
import json
import sys
import time
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import uvloop

from feint.openinference import proto

METHOD = f"/{proto.SERVICE}/ModelInfer"


async def main(room: Path) -> dict[str, Any]:
    """Send requests until the time is over; the first four values of each request are its own."""
    options, x = json.loads((room / "options.json").read_text()), np.load(room / "x.npy")
    numbers, latencies, failed = itertools.count(time.time_ns() % 2**31), [], 0
    tails = itertools.cycle([row.astype("<f4").tobytes()[16:] for row in x])
    keys = itertools.cycle(options["keys"] or [""])
    end = time.perf_counter() + options["seconds"]

    async def client(channel: grpc.aio.Channel) -> None:
        nonlocal failed
        ask = channel.unary_unary(
            METHOD,
            request_serializer=proto.ModelInferRequest.SerializeToString,
            response_deserializer=proto.ModelInferResponse.FromString,
        )
        while (start := time.perf_counter()) < end:
            first = np.frombuffer(next(numbers).to_bytes(4, "little"), np.uint8).astype("<f4") / np.float32(255)
            content = first.tobytes() + next(tails)
            request = proto.ModelInferRequest(model_name=options["model"], raw_input_contents=[content])
            request.inputs.add(name=options["input"], datatype="FP32", shape=(1, *x.shape[1:]))
            key = next(keys)
            try:
                await ask(request, metadata=[("authorization", f"Bearer {key}")] if key else [])
                latencies.append(time.perf_counter() - start)
            except grpc.aio.AioRpcError:
                failed += 1

    began = time.perf_counter()
    async with grpc.aio.insecure_channel(options["address"]) as channel:
        await asyncio.gather(*(client(channel) for _ in range(options["connections"])))
    p50, p99 = (1000 * float(seconds) for seconds in np.percentile(latencies or [np.nan], [50, 99]))
    seconds = time.perf_counter() - began
    return {"requests": len(latencies), "failed": failed, "seconds": seconds, "p50_ms": p50, "p99_ms": p99}


if __name__ == "__main__":
    print(json.dumps(uvloop.run(main(Path(sys.argv[1])))))
