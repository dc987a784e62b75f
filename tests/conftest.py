"""What all tests share: the embedded data, a small victim, and a cache of their own."""

import os
import shlex
import signal
from pathlib import Path

import pytest
import torch

os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported; a missing set is else looked for for 40 s
torch.set_num_threads(1)  # pytest-xdist runs one worker for each core
torch.set_warn_always(True)  # else once for each process, and which test fails of it depends on which ran first
FIRST = "test_docs.py"  # audits for the minutes that pages print: begun last, one of them would run alone for two


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items):
    """What starts a browser, or another project's server or client, is slow as well; the longest module comes first."""
    items.sort(key=lambda item: item.path.name != FIRST)
    for item in items:
        if item.get_closest_marker("interop") or item.get_closest_marker("browser"):
            item.add_marker("slow")


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory) -> Path:
    """A temporary directory of this run of the tests, the same in all workers."""
    root = tmp_path_factory.getbasetemp()
    return root.parent if "PYTEST_XDIST_WORKER" in os.environ else root


@pytest.fixture(scope="session", autouse=True)
def _cache(shared_folder):
    """Decoded data goes to a temporary directory, never to the user's own cache."""
    os.environ.setdefault("FEINT_CACHE", str(shared_folder / "cache"))


@pytest.fixture(scope="session")
def stranger_of(shared_folder):
    """Return a function from a name to a model of `tests.support.strangers`, built once for all workers."""
    from tests.support.strangers import built

    return lambda name: built(name, shared_folder / "strangers" / name)


@pytest.fixture(scope="session")
def digits(_cache):
    from feint import data

    return data.load("digits")


@pytest.fixture(scope="session")
def network(digits):
    from feint.models import networks

    return networks.get("mlp", digits)


@pytest.fixture(scope="session")
def victim(network, digits):
    from feint.models.training import Training, train

    return train(network, digits.train, training=Training(epochs=8))


@pytest.fixture(scope="session")
def answers(victim, digits):
    """The victim's answers to its training inputs."""
    from feint.victims import answers

    return answers(victim, digits.train)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The directory of real data sets; the tests that need it are skipped without one."""
    if "FEINT_DATA" not in os.environ:
        pytest.skip("FEINT_DATA is not set: no real data sets here")
    return Path(os.environ["FEINT_DATA"])


@pytest.fixture
def ctrl_c():
    """Sends SIGINT, which raises KeyboardInterrupt as in a terminal, however the tests were started."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield lambda: os.kill(os.getpid(), signal.SIGINT)
    handler = signal.signal(signal.SIGINT, before)
    assert handler is signal.default_int_handler, "the handler was not put back"


@pytest.fixture
def run_cli(monkeypatch, capsys, tmp_path, _cache):
    """Run a command line in an empty directory; returns its exit code and what it printed on both streams."""
    from feint.cli import main

    monkeypatch.chdir(tmp_path)

    def run(line: str) -> tuple[int, str, str]:
        code = 0
        try:
            main(shlex.split(line))
        except SystemExit as error:
            code = int(error.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run
