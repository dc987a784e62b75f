"""Contracts of access rules, over everything that the room exports."""

import threading

import pytest
import torch
from tests import examples
from tests.support.problems import Linear

from feint.defenses.access import Budget
from feint.errors import Refused
from feint.ledger import Ledger
from feint.query import Query
from feint.service import Defense, Service

CASES = examples.cases(examples.RULES)

X = torch.rand(100, 4, generator=torch.Generator().manual_seed(0))


def ask_for_all(service: Service) -> None:
    for x in X:
        service(Query(x[None], "greedy"))


@pytest.mark.parametrize("name", CASES)
def test_a_rule_raises_only_refused_with_a_remedy(name):
    service = Service(Linear(), Defense(access=[CASES[name]]))
    with pytest.raises(Refused, match="expected") as caught:
        ask_for_all(service)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [name for name, rule in examples.RULES.items() if not (rule.shared or rule.stamped)])
def test_the_queries_of_one_client_never_change_anothers_answer(name):
    service = Service(Linear(), Defense(access=[CASES[name]]))
    with pytest.raises(Refused):
        ask_for_all(service)
    assert torch.equal(service(Query(X[:3], "modest")).p, Service(Linear())(Query(X[:3])).p)


def test_many_threads_with_one_ledger_never_overspend():
    ledger, answered = Ledger(), []
    services = [Service(Linear(), Defense(access=[Budget(1000)]), ledger=ledger) for _ in range(8)]

    def ask(service: Service) -> None:
        for _ in range(60):
            try:
                answered.append(len(service(Query(X[:3], "shared"))))
            except Refused:
                return

    threads = [threading.Thread(target=ask, args=(service,)) for service in services]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(answered) == ledger["shared"].queries == 999
