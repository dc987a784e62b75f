"""Rows of marked answers: what a copy learns of them, whose accounts they name, and what they cost."""

from dataclasses import replace

import numpy as np
import torch

from benchmarks.tables.claim_results import measured, result_row, victim_answers
from benchmarks.tables.claimed import COPIES, Setup, control_labels, trained_copy, trainings, victim
from benchmarks.tables.rows import Row
from feint.defense import Defense
from feint.defenses.access.e_bh import e_bh
from feint.defenses.outputs import Marked
from feint.defenses.served_mark import ROWS
from feint.evaluation import metrics
from feint.models.networks import Classifier
from feint.oracle import account
from feint.ownership import Mark, claim_accounts
from feint.ownership.carried import marked_by_account
from feint.ownership.comparison import compare
from feint.ownership.selection import labels_of
from feint.ownership.statistics import holm
from feint.ownership.survival import BUDGET
from feint.query import Query
from feint.service import Service

ANY = Marked("an experiment's, not a secret")
UNSURE = replace(ANY, rate=0.2, margin=0.3)
KINDS = {"marked": ANY, "unsure": UNSURE}
KEYS = 200
SHARING, DRAWS = (1, 2, 3, 5, 10), 100  # accounts that share the marked answers of a theft, and how often it is drawn
FDR = 0.05


def _marked_theft(
    setup: Setup, answers: str, sybils: int, name: str, marked: Marked
) -> tuple[Service, Classifier, Mark]:
    """Return a service that marks answers, the copy for which so many accounts asked it, and their marked answers."""
    images = setup.images
    marking = Service(victim(setup), Defense(outputs=[marked]))
    x, clients = images.pool.inputs(slice(0, setup.budgets[-1])), [account("mallory", i) for i in range(sybils)]
    p = torch.cat([marking(Query(rows, client)).p for client, rows in zip(clients, x.chunk(sybils), strict=True)])
    training = trainings(setup)[name] if name else setup.copy
    copy = trained_copy(setup, x, p, answers, training, seed=COPIES[0])
    rows = {client: marking.ledger[client].rows(ROWS).array for client in clients}
    return marking, copy, marked_by_account(rows, images.domain, len(images.classes))


def served(setup: Setup, *, answers: str, sybils: int = 1, name: str = "", marked: Marked = ANY) -> Row:
    """Return what marked answers tell of a copy for which so many accounts asked, trained as usual or by that name."""
    images = setup.images
    marking, copy, mark = _marked_theft(setup, answers, sybils, name, marked)
    oracle = Service(copy).oracle(client="owner", budget=BUDGET)
    result = claim_accounts(oracle, mark, control_labels(setup, mark), policy=setup.trial.policy)
    q = marking(Query(images.test.inputs(), "honest")).p.argmax(-1)
    lost = metrics.stealer_accuracy(victim(setup), images.test) - (q == images.test.labels).float().mean().item()
    return {
        "kind": "marked answers", "margin": marked.margin, "sybils": sybils, "training": name, "answers": answers,
        "marked": len(mark),
        "named": sum(part.named for part in result.accounts), "honest accuracy lost": lost,
        **measured(setup, copy), "together": result_row(result),
    }  # fmt: skip


def shared(setup: Setup, *, answers: str, name: str = "", marked: Marked = ANY) -> Row:
    """Return what all marked answers tell of a copy, and how many accounts are named that share them at random."""
    _, copy, mark = _marked_theft(setup, answers, 1, name, marked)
    labels, known, random = labels_of(copy, mark.x).numpy(), control_labels(setup, mark), np.random.default_rng(0)

    def log_e(rows: np.ndarray) -> float:
        return compare(mark.take(rows), labels[rows], {name: own[rows] for name, own in known.items()}).log_e

    together = compare(mark, labels, known)
    curve = []
    for accounts in SHARING:
        parts = [np.array_split(random.permutation(len(mark)), accounts) for _ in range(DRAWS if accounts > 1 else 1)]
        logs = np.array([[log_e(rows) for rows in part if len(rows)] for part in parts])
        named = [sum(holm(np.minimum(1, np.exp(-drawn)).tolist(), setup.trial.policy.alpha)) for drawn in logs]
        curve.append({
            "accounts": accounts, "marks": len(mark) / accounts, "log_e": float(np.median(logs)),
            "named": float(np.mean(named)),
            "named by e-BH": float(np.mean([e_bh(np.exp(drawn), FDR).sum() for drawn in logs])),
        })  # fmt: skip
    return {
        "kind": "shared marks", "margin": marked.margin, "training": name, "answers": answers, "marked": len(mark),
        "agreed": together.agreed, "highest_control": together.highest, "log_e": together.log_e, "curve": curve,
        **measured(setup, copy),
    }  # fmt: skip


def cost(setup: Setup, *, marked: Marked) -> Row:
    """Return the points of accuracy that marked answers cost honest clients, over many keys."""
    test = setup.images.test
    p, x = victim_answers(setup, victim(setup)), test.inputs()
    right, lost, changed = metrics.accuracy(p, test.labels), [], []
    for i in range(KEYS):
        q = replace(marked, key=f"key {i}")(p, x)
        lost.append(100 * (right - metrics.accuracy(q, test.labels)))
        changed.append((q.argmax(-1) != p.argmax(-1)).float().mean().item())
    return {
        "kind": "honest cost", "data": setup.data, "rate": marked.rate, "margin": marked.margin, "inputs": len(test),
        "keys": KEYS, "marked": float(np.mean(changed)), "points": float(np.mean(lost)),
        "deviation": float(np.std(lost, ddof=1)), "most": float(np.quantile(lost, 0.95)),
        "above half a point": float(np.mean(np.array(lost) > 0.5)),
    }  # fmt: skip
