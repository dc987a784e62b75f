"""A false claim, by triggers that were made to transfer, is refused (Liu et al., USENIX Security 2024)."""

import pytest
from benchmarks.tables.false_triggers import transferable

from feint.models.networks import Network
from feint.models.training import Training, train
from feint.oracle import CountingOracle
from feint.ownership import Mark, Policy, claim, commit
from feint.ownership.selection import labels_of
from feint.query import Answer
from feint.victims import predict

TRAINED = Training(epochs=15)


@pytest.mark.slow
def test_triggers_that_transfer_to_a_model_of_somebody_else_are_no_evidence(digits, tmp_path):
    network = Network("mlp", digits.domain, 10)
    accusers = [train(network, digits.train, training=TRAINED, seed=seed) for seed in range(4)]
    accused = train(network, digits.train, training=TRAINED, seed=50)
    controls = [train(network, digits.train, training=TRAINED, seed=seed) for seed in range(100, 112)]
    x = digits.test.inputs(slice(0, 200))
    labels = (digits.test.labels[:200] + 1) % 10
    x = transferable(accusers, x, labels)
    assert (labels_of(accused, x) == labels).float().mean() > 0.5  # the triggers do transfer
    mark = Mark.of("triggers", digits.domain, 10, x, labels)
    answers = {f"{i}": [labels_of(control, x).numpy()] for i, control in enumerate(controls)}
    suspect = CountingOracle(lambda query: Answer(predict(accused, query.x)), budget=1000)
    entry = commit(tmp_path / "own.db", "digest", at=1.0)
    result = claim(suspect, [mark], answers, commitment=entry, appeared=2.0, policy=Policy(most_false=0.3))
    assert not result.is_copy
    assert "little evidence" in result.reasons
