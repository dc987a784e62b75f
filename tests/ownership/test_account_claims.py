"""A claim by account names whose marked answers a suspect learned."""

import asyncio
import json
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from tests.support.redis_servers import redis_server
from tests.support.suspects import now, repeating

from feint.client import RemoteService
from feint.errors import BadInput, Unreachable
from feint.gateway.auth.keyfile import Keys
from feint.gateway.changes import AccountName, ChangeSet
from feint.gateway.server.run import running
from feint.gateway.settings_file import read
from feint.gateway.stores import open_store
from feint.models import stored
from feint.models.training import Training, learn, train
from feint.oracle import CountingOracle
from feint.ownership import Mark, Policy, claim, claim_accounts, marked_by_account
from feint.ownership.accounts import TURN
from feint.ownership.commitment import Commitment, salted_digest
from feint.signature import Pixels, pack

K, DOMAIN = 10, Pixels((1, 4, 4))
DATED = {"commitment": Commitment("digest", 100.0, "entry"), "appeared": 200.0}
POLICY = Policy(most_false=0.3)


def rows(count: int, seed: int) -> np.ndarray:
    """Return rows as `Marked` stores them: inputs of a client, with labels at random."""
    random = np.random.default_rng(seed)
    x = random.integers(0, 256, (count, *DOMAIN.shape), np.uint8)
    return np.concatenate([pack(x), random.integers(0, K, (count, 1))], 1).astype(np.float32)


def accounts(*counts: int) -> dict[str, np.ndarray]:
    return {f"client {i}": rows(count, i) for i, count in enumerate(counts)}


def suspect(mark: Mark, learned: Sequence[str], *, share: float = 1.0, stops: int = 10_000) -> CountingOracle:
    """Return an oracle that repeats a share of the marked answers of these accounts, and otherwise never agrees."""
    random, whose = np.random.default_rng(9), mark.tensors["accounts"].numpy()
    repeats = np.isin(whose, [mark.accounts.index(name) for name in learned]) & (random.random(len(mark)) < share)
    return repeating([mark], [np.where(repeats, mark.labels, (mark.labels + 1) % K)], stops)


def innocents(mark: Mark, count: int = 12) -> dict[str, np.ndarray]:
    """Return labels of controls: one in ten agrees with the mark, as a model would at random."""
    return {f"{i}": np.random.default_rng(100 + i).integers(0, K, len(mark)) for i in range(count)}


def test_the_account_whose_answers_were_learned_is_named():
    mark = marked_by_account(accounts(60, 40, 80, 20), DOMAIN, K)
    result = claim_accounts(suspect(mark, ["client 0"], share=0.8), mark, innocents(mark), policy=POLICY, **DATED)
    assert result.is_copy
    assert result.named == ["client 0"]
    assert result.accounts[0].account == "client 0"
    assert result.false_claims == 0


def test_a_control_counts_that_would_be_claimed_before_all_questions_are_asked():
    mark = marked_by_account(accounts(60), DOMAIN, K)
    wrong, first = (mark.labels + 1) % K, np.arange(60) < 30
    late = {f"late {i}": np.where(first, wrong, mark.labels) for i in range(12)}
    controls = late | {"early": np.where(first, mark.labels, wrong)}
    result = claim_accounts(suspect(mark, []), mark, controls, policy=POLICY, **DATED)
    assert result.queries == 60
    assert result.claimed_controls == ["early"]


@pytest.mark.parametrize("fdr", [None, 0.05])
def test_several_accounts_are_named_together(fdr):
    mark = marked_by_account(accounts(*[40] * 10), DOMAIN, K)
    learned = ["client 2", "client 5"]
    policy = Policy(most_false=0.3, fdr=fdr)
    result = claim_accounts(suspect(mark, learned), mark, innocents(mark), policy=policy, **DATED)
    assert sorted(result.named) == learned


def test_e_bh_names_accounts_whose_evidence_alone_is_too_little_for_holm():
    mark = marked_by_account(accounts(*[20] * 20), DOMAIN, K)
    learned = [f"client {i}" for i in range(15)]
    named = {
        fdr: claim_accounts(suspect(mark, learned), mark, innocents(mark), policy=Policy(1e-3, 0.3, fdr), **DATED).named
        for fdr in (None, 0.05)
    }
    assert len(named[None]) < len(named[0.05]) == 15


def test_an_innocent_suspect_names_nobody():
    mark = marked_by_account(accounts(30, 40, 50), DOMAIN, K)
    result = claim_accounts(suspect(mark, []), mark, innocents(mark), policy=POLICY, **DATED)
    assert result.reasons == ("little evidence",)
    assert result.named == []
    assert not any(part.named for part in result.accounts)


def test_innocent_accounts_are_named_seldom_whatever_order_they_are_asked_in():
    """Suspects that agree as often as the control, of 30 accounts: at level 0.2, one in five names any."""
    mark = marked_by_account(accounts(*[30] * 30), DOMAIN, K)
    random, named = np.random.default_rng(0), 0
    for _ in range(40):
        repeats = random.random((2, len(mark))) < 0.5
        control, labels = np.where(repeats, mark.labels, (mark.labels + 1) % K)
        result = claim_accounts(
            repeating([mark], [labels]), mark, {"innocent": control}, policy=Policy(alpha=0.2, most_false=0.99), **DATED
        )
        named += any(part.named for part in result.accounts)
    assert named <= 0.2 * 40


def test_nobody_is_named_without_a_commitment():
    mark = marked_by_account(accounts(30, 40), DOMAIN, K)
    result = claim_accounts(suspect(mark, ["client 0"]), mark, innocents(mark), policy=POLICY)
    assert result.reasons == ("no commitment",)
    assert result.named == []
    assert result.accounts[0].named


def test_a_copy_of_many_accounts_with_few_answers_each_is_claimed_and_nobody_is_named():
    mark = marked_by_account(accounts(*[2] * 40), DOMAIN, K)
    learned = [f"client {i}" for i in range(40)]
    result = claim_accounts(suspect(mark, learned), mark, innocents(mark), policy=POLICY, **DATED)
    assert result.is_copy
    assert result.named == []


def test_one_who_learned_much_is_named_among_more_answers_than_may_be_asked():
    mark = marked_by_account(accounts(*[50] * 60), DOMAIN, K)
    result = claim_accounts(suspect(mark, ["client 17"], share=0.9), mark, innocents(mark), policy=POLICY, **DATED)
    assert result.queries <= 1000 < len(mark)
    assert result.named == ["client 17"]


def test_questions_about_others_stop_where_an_account_is_decided():
    mark = marked_by_account(accounts(200), DOMAIN, K)
    result = claim_accounts(suspect(mark, ["client 0"]), mark, innocents(mark), policy=POLICY, **DATED)
    assert result.named == ["client 0"]
    assert result.queries < 10 * TURN


def test_an_input_that_several_accounts_asked_is_left_out():
    same = rows(20, 1)
    mark = marked_by_account({"ann": np.concatenate([same, rows(5, 2)]), "bob": same, "eve": rows(3, 3)}, DOMAIN, K)
    assert list(mark.accounts) == ["ann", "eve"]
    assert len(mark) == 8
    with pytest.raises(BadInput, match="none with an input of its own"):
        marked_by_account({"ann": same, "bob": same}, DOMAIN, K)


def test_answers_of_another_model_are_an_error():
    with pytest.raises(BadInput, match="name the model that served them"):
        marked_by_account(accounts(5), Pixels((1, 8, 8)), K)
    with pytest.raises(BadInput, match="with 2 classes"):
        marked_by_account(accounts(50), DOMAIN, 2)


def test_a_suspect_that_goes_away_is_judged_by_what_it_answered():
    mark = marked_by_account(accounts(60, 60), DOMAIN, K)
    result = claim_accounts(suspect(mark, [], stops=25), mark, innocents(mark), policy=POLICY, **DATED)
    assert result.queries == 20  # the second ten were more than it would answer
    assert "suspect" in result.refusal
    with pytest.raises(Unreachable):
        claim_accounts(suspect(mark, [], stops=0), mark, innocents(mark), policy=POLICY, **DATED)


def test_marks_of_accounts_are_claimed_by_account_alone():
    mark = marked_by_account(accounts(30), DOMAIN, K)
    with pytest.raises(BadInput, match="claim_accounts"):
        claim(suspect(mark, []), [mark], {name: [labels] for name, labels in innocents(mark).items()})
    with pytest.raises(BadInput, match="0 controls"):
        claim_accounts(suspect(mark, []), mark, {})


def test_a_control_that_would_be_named_counts_as_a_false_claim():
    mark = marked_by_account(accounts(30, 30), DOMAIN, K)
    guilty = np.where(mark.tensors["accounts"].numpy() == 1, mark.labels, (mark.labels + 1) % K)
    controls = innocents(mark) | {"guilty": guilty}
    result = claim_accounts(suspect(mark, []), mark, controls, policy=POLICY, **DATED)
    assert result.false_claims == 1


def test_a_mark_of_accounts_is_committed_with_their_names(tmp_path):
    mark = marked_by_account(accounts(5, 5), DOMAIN, K)
    mark.save(tmp_path / "m" / "marked_answers")
    loaded = Mark.load(tmp_path / "m" / "marked_answers")
    other = marked_by_account({"x": rows(5, 0), "y": rows(5, 1)}, DOMAIN, K)
    digests = [salted_digest("salt", {"marked answers": each}) for each in (mark, loaded, other)]
    assert digests[0] == digests[1] != digests[2]


# ---- through a gateway


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=pytest.mark.redis)])
def url(request, tmp_path):
    if request.param == "sqlite":
        yield "sqlite:ledger.db"
    else:
        with redis_server(tmp_path) as server:
            yield server.url


SETTINGS = """
[server]
grpc_port = 0
[keys]
file = "keys.db"
[ledger]
store = "{url}"
[models.digits]
torch = "victim"
defense = ["Marked('secret', rate=0.15)"]
"""


@pytest.mark.slow
def test_a_claim_names_the_group_whose_answers_of_a_gateway_a_copy_learned(
    run_cli, url, tmp_path, victim, digits, network
):
    stored.save(tmp_path / "victim", victim)
    (tmp_path / "gateway.toml").write_text(SETTINGS.format(url=url))
    keys = Keys(tmp_path / "keys.db", new=True)
    secrets = {name: keys.add(name, group=group)[0] for name, group in CLIENTS.items()}
    x = digits.pool.inputs()
    with running(read(tmp_path / "gateway.toml")) as gateway:
        answered = {
            name: RemoteService(gateway.url, model="digits", keys=[secrets[name]]).oracle(budget=400).ask(x[part])
            for name, part in PARTS.items()
        }
        code, out, err = run_cli("ledger marks gateway.toml --out served")  # while it runs
    assert code == 0, err
    assert "of 2 accounts" in out
    stolen = torch.cat([answered["mallory"], answered["marvin"]])
    copy = learn(network, x[:600], stolen.argmax(-1), Training(epochs=100, batch_size=64, learning_rate=0.1))
    stored.save(tmp_path / "copy", copy)
    for seed in range(8):
        stored.save(tmp_path / f"controls/{seed}", train(network, digits.train, training=Training(epochs=3), seed=seed))
    run_cli("commit served --ledger own.db")
    line = f"claim copy --mark served --controls controls --ledger own.db --appeared {now()} --most-false 0.4"
    code, out, err = run_cli(f"{line} --json --out claimed")
    assert code == 0, out + err
    assert json.loads(out)["named"] == ["group card"]
    assert "group card" in (tmp_path / "claimed/claim.html").read_text()
    (tmp_path / "controls/3").rename(tmp_path / "innocent")
    code, out, _ = run_cli(line.replace("claim copy", "claim innocent"))
    assert code == 1
    assert "group card" in out
    assert run_cli(f"{line} --fdr 2")[0] == 2


CLIENTS = {"mallory": "card", "marvin": "card", "alice": None}
PARTS = {"mallory": slice(0, 300), "marvin": slice(300, 600), "alice": slice(600, None)}


def test_a_ledger_without_marked_answers_is_an_error(run_cli, tmp_path, victim):
    stored.save(tmp_path / "victim", victim)
    (tmp_path / "gateway.toml").write_text(SETTINGS.format(url="sqlite:ledger.db"))
    Keys(tmp_path / "keys.db", new=True)
    code, _, err = run_cli("ledger marks gateway.toml --out served")
    assert code == 2
    assert "ledger.db, which is not there" in err
    asyncio.run(asked_once(tmp_path / "ledger.db"))
    code, _, err = run_cli("ledger marks gateway.toml --out served")
    assert code == 2
    assert "Marked(key)" in err
    assert not (tmp_path / "served").exists()


async def asked_once(ledger):
    """Write the ledger of a model of which a client has asked one query."""
    store = open_store(f"sqlite:{ledger}", "digits")
    await store.commit({AccountName("client", "mallory"): ChangeSet(0, {"queries": 1.0})})
    await store.close()
