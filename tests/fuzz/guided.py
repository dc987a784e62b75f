"""Cases by atheris, guided by the coverage of Feint: `python -m tests.fuzz.guided TARGET CASES SEED`.

libFuzzer ends its process by itself, so that each target has one of its own; on Linux it also ends one that takes more
than a GiB of memory, or more than ten seconds for a case.
"""

import re
import sys
import tempfile
from pathlib import Path

OPTIONS = ["-rss_limit_mb=1024", "-timeout=10", "-max_len=4096", "-print_final_stats=1", "-verbosity=1"]


def main(name: str, cases: str, seed: str) -> None:
    import atheris

    with atheris.instrument_imports(include=["feint.gateway"]):
        from tests.fuzz import seeds, targets
    target, count, accepted = targets.ALL[name], 0, 0

    def one(data: bytes) -> None:
        nonlocal count, accepted
        accepted += target(data)
        count += 1
        if count == int(cases):  # nothing runs after the last one
            peak = re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())  # libFuzzer says its parent's
            assert peak is not None
            print(f"accepted {accepted}\npeak {int(peak[1]) // 1024}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory() as corpus:
        for n, right in enumerate(seeds.BYTES[name]):
            Path(corpus, str(n)).write_bytes(right)
        atheris.Setup(["fuzz", corpus, f"-runs={cases}", f"-seed={seed}", f"-artifact_prefix={corpus}/", *OPTIONS], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
