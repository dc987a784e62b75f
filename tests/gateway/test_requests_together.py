"""Requests of one turn of the event loop go through the line together: one run, one transaction, each for itself."""

import asyncio

import numpy as np
import pytest
from tests.support.gateways import ANYBODY, SHAPE
from tests.support.graph_files import defended, undefended, whole

from feint.errors import Failed, OverBudget, TimedOut
from feint.gateway.array_query import ArrayQuery
from feint.gateway.ledger_session import LedgerSession
from feint.gateway.record import RequestRecord
from feint.gateway.server.bootstrap import load
from feint.gateway.settings import LedgerSettings, OnnxSettings, Settings
from feint.gateway.stores import open_store

CLIENTS = [f"client {i}" for i in range(8)]
LIMIT = 5


def query(client: str, seed: int = 0) -> ArrayQuery:
    return ArrayQuery(np.random.default_rng(seed).random((1, *SHAPE), np.float32), client)


class Scene:
    """A model with a budget and a ledger in SQLite.

    Attributes:
        endpoint: Its endpoint.
        runs: Rows of each run of the graph.
        statements: Statements of SQLite.
        records: Records of the requests.
    """

    def __init__(self, state) -> None:
        self.endpoint = state.gateway.endpoints["toy"]
        self.runs, self.statements = [], []
        self.records: list[RequestRecord] = []
        shared, run = self.endpoint.pipeline._run, self.endpoint.pipeline._run._run
        shared._run = lambda x: self.runs.append(len(x)) or run(x)
        self.endpoint.observer = self.records.append

    async def ask(self, *queries: ArrayQuery):
        return await asyncio.gather(*map(self.endpoint.answer, queries), return_exceptions=True)

    async def warm(self) -> None:
        """Ask once, with company: otherwise the first of the next ones would be alone."""
        await self.ask(*(query(f"warm {i}") for i in range(2)))
        self.endpoint.session.store._file.set_trace_callback(self.statements.append)
        self.runs.clear()
        self.records.clear()

    def charged(self, client: str) -> float:
        return self.endpoint.session.begin(client).total("budget")


@pytest.fixture
def play(tmp_path):
    """Play a scene at a model with a budget of `LIMIT` queries."""
    graph = whole(tmp_path / "toy.onnx")
    ledger = LedgerSettings(f"sqlite:{tmp_path / 'ledger.db'}")

    def played(scene):
        async def main():
            models = {"toy": OnnxSettings(path=graph, access=(f"Budget({LIMIT})",))}
            state = await load(Settings(models, keys=ANYBODY["keys"], ledger=ledger))
            here = Scene(state)
            await here.warm()
            try:
                return await scene(here)
            finally:
                await state.close()

        return asyncio.run(main())

    return played


def right(q, asked: ArrayQuery) -> bool:
    return np.allclose(q, defended(undefended(asked.x)), atol=1e-6)


def test_clients_of_one_turn_share_a_run_and_a_transaction(play):
    async def scene(here):
        queries = [query(client, i) for i, client in enumerate(CLIENTS)]
        answers = await here.ask(*queries)
        return here, [right(q, asked) for q, asked in zip(answers, queries, strict=True)]

    here, fine = play(scene)
    assert fine == [True] * len(CLIENTS)
    assert (here.runs, here.statements.count("COMMIT")) == ([len(CLIENTS)], 1)
    assert [record.outcome for record in here.records] == ["answered"] * len(CLIENTS)
    assert all(set(record.seconds) == {"access", "model", "outputs", "ledger"} for record in here.records)


class Reads:
    """Rule that reads the account, so that a change depends on it."""

    def admit(self, asked, account) -> None:
        account.add_all({"seen": len(asked)})


def test_requests_of_one_client_in_one_turn_are_charged_one_after_the_other(play):
    async def scene(here):
        pipeline = here.endpoint.pipeline
        pipeline._everybodys = (Reads(), *pipeline._everybodys)
        answers = await here.ask(*(query("ann", i) for i in range(LIMIT + 3)), query("bob"))
        return here, answers, here.charged("ann"), here.charged("bob")

    here, answers, ann, bob = play(scene)
    assert sum(isinstance(answer, OverBudget) for answer in answers) == 3
    assert (ann, bob) == (LIMIT, 1)
    assert here.statements.count("COMMIT") == 1
    assert [record.conflicts for record in here.records] == [0] * len(answers)


class SecondOnly:
    """Rule that lets in who was let in before, or was refused."""

    def admit(self, asked, account) -> None:
        if not account.add_all({"seen": 1.0})["seen"] > 1:
            raise OverBudget("the first request", "another one before", "ask again")


def test_one_who_is_let_in_by_what_came_before_in_its_turn_is_answered(play):
    async def scene(here):
        pipeline = here.endpoint.pipeline
        pipeline._everybodys = (SecondOnly(), *pipeline._everybodys)
        queries = [query("ann", i) for i in range(3)]
        answers = await here.ask(*queries)
        return answers, queries, here.charged("ann"), here.endpoint.session.begin("ann").total("seen")

    answers, queries, charged, seen = play(scene)
    assert isinstance(answers[0], OverBudget)
    assert [right(q, asked) for q, asked in zip(answers[1:], queries[1:], strict=True)] == [True, True]
    assert (charged, seen) == (2, 3)


class FailsFor(list):
    """Rule that fails for some clients."""

    def admit(self, asked, account) -> None:
        if asked.client in self:
            raise RuntimeError


@pytest.mark.parametrize("where", ["rule", "inputs", "model", "output", "begin", "stage"])
def test_a_request_that_fails_harms_no_other_in_its_turn(play, where, monkeypatch):
    """Nor is it charged, whatever fails."""
    bad = CLIENTS[3]

    async def scene(here):
        pipeline, session = here.endpoint.pipeline, here.endpoint.session
        queries = [query(client, i) for i, client in enumerate(CLIENTS)]
        answered, begun, staged, read = pipeline.answer, session.begin, session.stage, pipeline._read

        async def answer(asked, *rest, **more):
            q = await answered(asked, *rest, **more)
            return q * np.nan if asked.client == bad else q

        def begin(client, group=""):
            return 1 / 0 if client == bad else begun(client, group)

        def stage(transaction):
            return 1 / 0 if transaction.client == bad else staged(transaction)

        if where == "rule":
            monkeypatch.setattr(pipeline, "_everybodys", (*pipeline._everybodys, FailsFor([bad])))
        elif where == "inputs":
            monkeypatch.setattr(pipeline, "_read", lambda asked: 1 / 0 if asked.client == bad else read(asked))
        elif where == "model":
            queries[3].x = queries[3].x[..., :1]
        elif where == "output":
            monkeypatch.setattr(pipeline, "answer", answer)
        else:
            monkeypatch.setattr(session, where, {"begin": begin, "stage": stage}[where])
        answers = await here.ask(*queries)
        monkeypatch.undo()
        return answers, queries, [here.charged(client) for client in CLIENTS]

    answers, queries, charged = play(scene)
    assert isinstance(answers[3], Failed)
    for i, (q, asked) in enumerate(zip(answers, queries, strict=True)):
        assert i == 3 or right(q, asked)
    assert charged == [0 if client == bad else 1 for client in CLIENTS]


def test_another_replica_in_between_repeats_its_own_client_alone(play, tmp_path):
    async def scene(here):
        await here.ask(*map(query, CLIENTS))
        elsewhere = LedgerSession(open_store(f"sqlite:{tmp_path / 'ledger.db'}", "toy"))
        for _ in range(2):  # at first it knows nothing of the account
            transaction = elsewhere.begin("client 2")
            transaction.total("budget")
            transaction.add("budget", 1)
            await elsewhere.commit(transaction)
        await elsewhere.store.close()
        here.runs.clear()
        here.records.clear()
        answers = await here.ask(*(query(client, 1) for client in CLIENTS))
        return answers, here, here.charged("client 2")

    answers, here, charged = play(scene)
    assert [len(q) for q in answers] == [1] * len(CLIENTS)
    assert {record.client: record.conflicts for record in here.records} == {
        client: int(client == "client 2") for client in CLIENTS
    }
    assert here.runs == [len(CLIENTS)]  # what the model has computed is kept
    assert charged == 3


@pytest.mark.parametrize("together", [True, False])
def test_an_account_that_two_processes_change_by_turns_conflicts_once(play, tmp_path, together):
    """Afterwards it is read again before each commit: a conflict costs a request its whole way, and this a look."""

    async def scene(here):
        asked = CLIENTS if together else CLIENTS[2:3]
        await here.ask(*map(query, asked))
        elsewhere = LedgerSession(open_store(f"sqlite:{tmp_path / 'ledger.db'}", "toy"))
        here.records.clear()
        answers = []
        for turn in range(1, LIMIT - 2):
            for _ in range(2):  # it knows nothing of what was asked here
                transaction = elsewhere.begin("client 2")
                transaction.total("budget")
                transaction.add("budget", 1)
                if await elsewhere.commit(transaction):
                    break
            answers += await here.ask(*(query(client, turn) for client in asked))
        await elsewhere.store.close()
        return answers, [r.conflicts for r in here.records if r.client == "client 2"], here.charged("client 2")

    answers, conflicts, charged = play(scene)
    assert all(len(q) == 1 for q in answers)
    assert conflicts == [1, 0]
    assert charged == 5  # by both, and none twice


def test_a_ledger_that_is_lost_answers_none_of_the_turn_and_charges_nobody(play, monkeypatch):
    async def scene(here):
        with monkeypatch.context() as patch:
            patch.setattr(here.endpoint.session.store, "_transaction", lambda pending: 1 / 0)
            lost = await here.ask(*map(query, CLIENTS))
            patch.setattr(here.endpoint.session, "_commit_each", lambda many: 1 / 0)
            worse = await here.ask(*map(query, CLIENTS))
        again = await here.ask(*map(query, CLIENTS))
        return lost, worse, again, [here.charged(client) for client in CLIENTS]

    lost, worse, again, charged = play(scene)
    assert {type(error) for error in (*lost, *worse)} == {Failed}
    assert [len(q) for q in again] == [1] * len(CLIENTS)
    assert charged == [1] * len(CLIENTS)


def test_a_client_who_goes_before_the_turn_is_not_charged_and_the_others_are_answered(play):
    async def scene(here):
        asked = [asyncio.ensure_future(here.endpoint.answer(query(client))) for client in CLIENTS]
        await asyncio.sleep(0)
        asked[2].cancel()
        answers = await asyncio.gather(*asked, return_exceptions=True)
        return answers, here, [here.charged(client) for client in CLIENTS]

    answers, here, charged = play(scene)
    assert isinstance(answers.pop(2), asyncio.CancelledError)
    assert [len(q) for q in answers] == [1] * (len(CLIENTS) - 1)
    assert charged == [int(i != 2) for i in range(len(CLIENTS))]
    assert here.runs == [len(CLIENTS) - 1]


def test_one_who_was_alone_is_answered_without_a_turn_of_the_loop(play):
    async def scene(here):
        await here.endpoint.answer(query("ann"))
        await asyncio.sleep(0)
        with pytest.raises(StopIteration) as done:
            here.endpoint.answer(query("ann", 1), seconds=60.0).send(None)
        return len(done.value.value)

    assert play(scene) == 1


def test_the_turn_belongs_to_no_request(play, monkeypatch):
    """What is logged in it names none of them."""
    from feint.gateway import request_context

    async def scene(here):
        paths = []
        run = here.endpoint.pipeline.compute_each
        monkeypatch.setattr(
            here.endpoint.pipeline,
            "compute_each",
            lambda requests: paths.append(request_context.current().path) or run(requests),
        )
        request_context.begin("/of/one", "", {})
        await here.ask(*map(query, CLIENTS))
        return paths, {record.context.path for record in here.records}

    assert play(scene) == ([""], {"/of/one"})


def test_a_turn_that_takes_too_long_is_over_for_each_of_its_requests(play, monkeypatch):
    async def scene(here):
        async def never(many):
            await asyncio.Event().wait()

        with monkeypatch.context() as patch:
            patch.setattr(here.endpoint.session, "_commit_each", never)
            late = await asyncio.gather(
                *(here.endpoint.answer(query(client), seconds=0.01) for client in CLIENTS), return_exceptions=True
            )
        return [type(error) for error in late], {record.reason for record in here.records}

    assert play(scene) == ([TimedOut] * len(CLIENTS), {"TimedOut"})


def test_store_errors_are_each_commit_s_own(play):
    """A commit that cannot be packed fails alone."""

    async def scene(here):
        store = here.endpoint.session.store
        from feint.gateway.changes import AccountName, ChangeSet

        many = [{AccountName("client", f"{i}"): ChangeSet(0, {"a": 1j if i == 1 else 1.0})} for i in range(3)]
        return [type(result).__name__ for result in await store.commit_each(many)]

    assert play(scene) == ["Outcome", "TypeError", "Outcome"]
