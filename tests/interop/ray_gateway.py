"""Two replicas on a cluster of this machine; many clients at once, one of whom has a budget: FILE PORT KEY."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor

import httpx2
import ray
from ray import serve

from feint.gateway.server.ray import deployment

file, port, key = sys.argv[1:]
ray.init(num_cpus=4, include_dashboard=False, logging_level="error", configure_logging=False)
try:
    serve.start(http_options={"host": "127.0.0.1", "port": int(port)})
    serve.run(deployment(file, replicas=2), route_prefix="/")
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1, 2, 2], "data": [0.0, 1.0, 0.5, 0.2]}]}

    def ask(n: int) -> int:
        url = f"http://127.0.0.1:{port}/v2/models/toy/infer"
        return httpx2.post(url, json=body, headers={"Authorization": f"Bearer {key}"}, timeout=30).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(ask, range(60)))
    running = serve.status().applications["default"].deployments["feint"].replica_states
    print(
        json.dumps(
            {"replicas": running, "answered": statuses.count(200), "refused": statuses.count(429), "all": len(statuses)}
        )
    )
finally:
    serve.shutdown()
    ray.shutdown()
