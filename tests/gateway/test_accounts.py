"""Accounts of a ledger as their operator reads and resets them, while a gateway is at work."""

import asyncio
import json

import numpy as np
import pytest
from tests.support.redis_servers import redis_server

from feint.gateway.stores import open_store
from feint.gateway.transaction import LedgerSession


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=pytest.mark.redis)])
def url(request, tmp_path):
    """A store, and beside it the settings of a gateway that uses it."""
    if request.param == "sqlite":
        yield settings(tmp_path, "sqlite:ledger.db")
    else:
        with redis_server(tmp_path) as running:
            yield settings(tmp_path, running.url)


def settings(folder, url: str) -> str:
    (folder / "gateway.toml").write_text(f'[ledger]\nstore = "{url}"\n[models.toy]\npath = "toy.onnx"\n')
    return url.replace("sqlite:", f"sqlite:{folder}/")


def asked(url: str) -> tuple[bool, bool]:
    """Whether the first and the second of two requests of ann, of the group card, are committed at the first try."""

    async def scene():
        session, committed = LedgerSession(open_store(url, "toy")), []
        for _ in range(2):
            transaction = session.begin("ann", "card")
            transaction.add("budget", 1.0)
            transaction.accuse(0.5)
            transaction.rows("r").append(np.ones((1, 2)), most=9)
            transaction.once(f"{len(committed)}", expires=9.0, now=0.0)
            committed.append(await session.commit(transaction))
        await session.store.close()
        return tuple(committed)

    return asyncio.run(scene())


def test_an_account_is_shown_and_exported(url, run_cli):
    assert asked(url) == (True, True)
    code, out, _ = run_cli("ledger show gateway.toml ann")
    assert (code, out) == (0, "budget: 2\nevidence: 0.5\nr: 2 rows\n")
    assert run_cli("ledger show gateway.toml card --group")[1] == "evidence: 0.5\n"
    exported = json.loads(run_cli("ledger export gateway.toml ann --model toy")[1])
    assert exported == {
        "name": "ann",
        "totals": {"budget": 2.0, "evidence": 0.5},
        "rows": {"r": [[1.0, 1.0], [1.0, 1.0]]},
    }


def test_a_client_that_is_reset_begins_anew_and_uses_no_token_again(url, run_cli):
    asked(url)
    code, out, _ = run_cli("ledger reset gateway.toml ann")
    assert (code, out) == (0, "ann begins anew, with evidence 0 instead of 0.50\n")
    assert run_cli("ledger show gateway.toml ann")[1] == ""
    assert run_cli("ledger show gateway.toml card --group")[1] == "evidence: 0.5\n"
    assert asked(url) == (False, False)  # by a replica that knows nothing; then for the tokens


@pytest.mark.parametrize(
    "line", ["show gateway.toml bob", "reset gateway.toml card", "show gateway.toml ann --model x"]
)
def test_who_is_not_there_is_an_error_of_one_line(url, run_cli, line):
    asked(url)
    code, out, err = run_cli(f"ledger {line}")
    assert (code, out, err.count("\n")) == (2, "", 1)
