"""The whole way from a mark to a verdict, for a table, texts and tokens: a copy is claimed, an innocent is not."""

import contextlib
import json

import numpy as np
import pytest
from tests.support.suspects import now

from feint.data import Split
from feint.gateway.server.run import running
from feint.gateway.settings_file import read
from feint.models import stored
from feint.models.inference import answers
from feint.models.networks import Network
from feint.models.training import Training, learn
from feint.ownership import Mark, OrdinaryInputs, Policy, Triggers, claim, commit, load_marks
from feint.ownership.commitment import drawn_salt, find, salted_digest
from feint.ownership.controls import control_answers
from feint.service import Service
from feint.signature import Column, Columns, Text, Tokens

CLASSES = 4
TRAINING = Training(epochs=10, batch_size=64, learning_rate=0.01, optimizer="adamw")
DOMAINS = {
    "table": Columns(tuple(Column(f"x{i}", low=0.0, high=1.0) for i in range(4))),
    "text": Text(11),
    "tokens": Tokens(4, 33),
}
POLICY = Policy(most_false=0.4)

SETTINGS = """
[server]
grpc_port = 0
[keys]
anonymous = true
[models.copy]
torch = "copy"
[models.innocent]
torch = "innocent"
"""


def rows(domain, count, seed):
    """Return inputs (N, …) and two numbers (N, 2) of each, on which its class depends."""
    if isinstance(domain, Columns):
        x = domain.sample(count, seed)
        return x, x[:, :2]
    words = np.random.default_rng(seed).integers(0, 8, (count, 4))
    if isinstance(domain, Tokens):
        return words + 8 * np.arange(4) + 1, (words[:, :2] + 0.5) / 8
    lines = (" ".join(f"{chr(97 + place)}{word}" for place, word in enumerate(row)) for row in words)
    return np.array([list(line.encode()) for line in lines], np.uint8), (words[:, :2] + 0.5) / 8


def samples(domain, count, seed, noise=0.0):
    """Return inputs whose class is which of two numbers are large, with a share of random labels."""
    (x, numbers), random = rows(domain, count, seed), np.random.default_rng(1000 + seed)
    labels = np.where(random.random(count) < noise, random.integers(0, CLASSES, count), (numbers > 0.5) @ [2, 1])
    return Split.of(domain.encode(x), labels.astype(np.int64), domain=domain)


class Task:
    """Marked model of a domain, with a mark on disk, its commitment, and the labels of eight innocents."""

    def __init__(self, domain, folder):
        self.domain, self.network, self.folder = domain, Network("mlp", domain, CLASSES), folder
        self.model, held_out = self.trained(1), samples(domain, 300, 50)
        for method in (Triggers(count=150, tries=20, copies=0), OrdinaryInputs()):
            mark: Mark = method.mark(self.model, held_out)
            mark.save(folder / "marked" / mark.method)
        self.marks = load_marks(folder / "marked")
        with drawn_salt(folder / "marked") as salt:
            digest = salted_digest(salt, self.marks)
            commit(folder / "own.db", digest, at=1.0)
        self.commitment = find(folder / "own.db", digest)
        innocents = {f"innocent {i}": self.trained(100 + i, 400) for i in range(8)}  # some as good as the model
        self.controls = control_answers(innocents, [*self.marks.values()])
        for name, innocent in (innocents | {"copy": self.copied(), "innocent": self.trained(5)}).items():
            stored.save(folder / ("controls" if name in innocents else ".") / name, innocent)
        (folder / "gateway.toml").write_text(SETTINGS)

    def trained(self, seed, count=200):
        """Return a model that was trained on samples of its own."""
        inputs = samples(self.domain, count, seed, noise=0.3)
        return learn(self.network, inputs.inputs(), inputs.labels, TRAINING, seed=seed)

    def copied(self):
        """Return a copy by labels alone."""
        pool = samples(self.domain, 2000, 60)
        return learn(self.network, pool.inputs(), answers(self.model, pool).argmax(-1), TRAINING, seed=77)

    def claim(self, suspect):
        oracle = Service(suspect).oracle(client="owner", budget=1000)
        marks = [*self.marks.values()]
        return claim(oracle, marks, self.controls, commitment=self.commitment, appeared=2.0, policy=POLICY)


@pytest.fixture(scope="module", params=DOMAINS)
def task(request, tmp_path_factory):
    return Task(DOMAINS[request.param], tmp_path_factory.mktemp(request.param))


def test_a_copy_is_claimed(task):
    assert task.claim(task.copied()).is_copy


def test_an_innocent_is_not_claimed(task):
    result = task.claim(task.trained(5))
    assert "little evidence" in result.reasons
    assert not result.is_copy


def test_a_suspect_behind_a_gateway_is_judged_as_its_file_is(task, run_cli):
    line = f"--mark marked --controls controls --ledger own.db --appeared {now()} --most-false 0.4 --json"
    with contextlib.chdir(task.folder), running(read(task.folder / "gateway.toml")) as gateway:
        for name, verdict in (("copy", 0), ("innocent", 1)):
            code, out, err = run_cli(f"claim {gateway.url} --model {name} --out claim-{name} {line}")
            assert code == verdict, out + err
            over_http, of_file = (json.loads(text) for text in (out, run_cli(f"claim {name} {line}")[1]))
            assert over_http | {"suspect": name} == of_file
            assert (task.folder / f"claim-{name}/claim.html").is_file()
