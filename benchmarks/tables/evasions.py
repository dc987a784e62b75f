"""Evasions of the sequential test by the order or the form of queries: late, in turns, values missing, of one code.

No suite: streams are replayed; copies are trained on the answers to images of one code alone. The tests are those of an
audit, without slices, of the LeNet on Fashion-MNIST and of XGBoost on Adult, as in `evidence`.
"""

import functools
from functools import partial

import numpy as np
import torch
from torch import Tensor

from benchmarks.tables.evidence import Setting, setting_of_adult, setting_of_fashion
from benchmarks.tables.rows import Jobs, Row
from feint import victims
from feint.audit.query_test import DRAW, OF_ROWS, OUTLIERS
from feint.bench.demo import SETTINGS
from feint.data.made_up import made_up
from feint.defenses.access import SequentialTest
from feint.evaluation import metrics
from feint.evaluation.decisions import prevalence
from feint.evaluation.detection import first_accusation
from feint.gateway.array_query import ArrayQuery
from feint.ledger import Account
from feint.models.training import learn
from feint.progress import ProgressCallback
from feint.recipes import registry
from feint.signature import Columns, Pixels
from feint.signature.domain import NEAR_BITS
from feint.signature.pixels import ORDER, low_frequencies

ACCOUNTS, LENGTH = 20, 2000
HONEST = 0, 100, 1_000, 10_000  # queries before a late attacker's first
SHARE, TURNS = 0.05, (1, 5, 20)  # of the pool, and queries of it in a row
PAUSE, RESUME = 0.5, 0.25  # evidence at which an attacker who knows it pauses, and goes on
MISSING = 0.0, 0.3, 0.9  # of the values that may be missing
PASSES, APART = 40, 0.3  # projections, and how far from their median all frequencies are put
CODED, TOGETHER = 5, 20  # accounts that send images of one code, and queries in one of their requests
SEEDS = 3  # of copies


def jobs(progress: ProgressCallback) -> Jobs:
    """How many answers from the pool an account gets before it is accused; what those of one code are worth."""
    for honest in HONEST:
        yield f"evasion-late-{honest}", partial(late, honest)
    for turn in TURNS:
        yield f"evasion-turns-{turn}", partial(in_turns, turn)
    yield "evasion-watchful", watchful
    for share in MISSING:
        yield f"evasion-missing-{share}", partial(missing, share)
    yield "evasion-one-code", of_one_code
    for accounts in (1, CODED):
        for coded in (True, False):
            name = f"copy-{'one-code' if coded else 'pool'}-{accounts}"
            yield name, partial(copies_of_one_code, accounts, coded, progress)


def late(honest: int) -> Row:
    """Ask about inputs of the task first, and about nothing but the pool then."""
    setting, answers = setting_of_fashion(), []
    for account in range(ACCOUNTS):
        stream = torch.cat([_drawn(setting, "", honest, account), _drawn(setting, "pool", 200, account)])
        answers.append(_accused(setting.plain, stream) - honest)
    return _row("Fashion-MNIST", f"nothing but the pool, after {honest:,} queries of the task", answers, 200)


def in_turns(turn: int) -> Row:
    """Ask about the pool in turns, with a share of `SHARE` in all."""
    setting, answers = setting_of_fashion(), []
    odd = torch.arange(LENGTH) % round(turn / SHARE) < turn
    for account in range(ACCOUNTS):
        stream = torch.where(odd, *(_drawn(setting, kind, LENGTH, account) for kind in ("pool", "")))
        answers.append(_answers(odd, _accused(setting.plain, stream)))
    return _row("Fashion-MNIST", f"{SHARE:.0%} from the pool, {turn} in a row", answers, int(odd.sum()))


def watchful() -> Row:
    """Ask about the pool until evidence is `PAUSE`, and about the task until it is `RESUME` again."""
    setting, answers, asked = setting_of_fashion(), [], []
    process = setting.plain.process
    for account in range(ACCOUNTS):
        pool, task = (_drawn(setting, kind, LENGTH, account).numpy() for kind in ("pool", ""))
        state, evidence, count, paused = np.zeros(process.size), 0.0, 0, False
        for i in range(LENGTH):
            paused = evidence >= (RESUME if paused else PAUSE)
            values, state = process.advance((task if paused else pool)[i : i + 1], state)
            evidence, count = values.item() / -np.log(process.alpha), count + (not paused)
            if evidence >= 1:
                break
        answers.append(float(count) if evidence >= 1 else np.inf)
        asked.append(count)
    row = _row("Fashion-MNIST", "the pool, with pauses while evidence is high", answers, max(asked))
    return {**row, "answers_of_the_others": float(np.median(asked))}


def missing(share: float) -> Row:
    """Draw rows of which a share of the values that may be missing are."""
    setting, test = setting_of_adult(), test_of_rows()
    domain = setting.images.domain
    assert isinstance(domain, Columns)
    optional = torch.tensor([column.optional for column in domain.columns])
    x, z = setting.answered("pool")
    left_out = (torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) < share) & optional
    x = torch.where(left_out, torch.nan, x)
    scores, answers = test.ranked_score(x, z), []
    for account in range(ACCOUNTS):
        rows = torch.randint(len(scores), (200,), generator=torch.Generator().manual_seed(account))
        answers.append(_accused(test, scores[rows]))
    return _row("Adult", f"drawn rows, {share:.0%} of the values missing that may be", answers, 200)


@functools.cache
def test_of_rows() -> SequentialTest:
    """Return the test of rows that an audit chooses for Adult."""
    setting = setting_of_adult()
    outliers = made_up(setting.calibration, OUTLIERS, DRAW)
    return SequentialTest(registry.parse(OF_ROWS[1])).fit(setting.victim, setting.calibration, outliers=outliers)


def of_one_code() -> Row:
    """Send images of the pool that have all been given the perceptual code of one image of the task."""
    setting, answers, changed = setting_of_fashion(), [], []
    pool = setting.pool.inputs(slice(0, LENGTH)).numpy()
    for x, accused in map(sent_with_code, range(CODED)):
        changed.append(float(np.abs(x - pool).mean()))
        answers.append(accused)
    row = _row("Fashion-MNIST", "the pool, all with the perceptual code of one input of the task", answers, LENGTH)
    return {**row, "mean_change_of_a_pixel": round(float(np.mean(changed)), 3)}


@functools.cache
def sent_with_code(account: int) -> tuple[np.ndarray, float]:
    """Return images of the pool with the code of the account's image of the task, and after how many it is accused."""
    setting = setting_of_fashion()
    like, pool = setting.honest.inputs(slice(account, account + 1)), setting.pool.inputs(slice(0, LENGTH))
    x = with_code_of(like[0].numpy(), pool.numpy())
    scores = setting.plain.ranked_score(torch.from_numpy(x), victims.logits(setting.victim, torch.from_numpy(x)))
    process, known = setting.plain.process, Account(f"{account}")
    requests = np.split(np.arange(LENGTH), range(TOGETHER, LENGTH, TOGETHER))
    evidence = (process.observe(scores[rows].numpy(), ArrayQuery(x[rows], "client"), known) for rows in requests)
    return x, TOGETHER * first_accusation(evidence)


def copies_of_one_code(accounts: int, coded: bool, progress: ProgressCallback) -> Row:
    """Train copies on what accounts with images of one code get, or on as many answers to the pool as it is."""
    setting = setting_of_fashion()
    given = [x[: int(min(accused, LENGTH))] for x, accused in map(sent_with_code, range(accounts))]
    x = torch.from_numpy(np.concatenate(given))
    if not coded:
        x = setting.pool.inputs(slice(0, len(x)))
    p, judged = victims.logits(setting.victim, x).softmax(-1), setting.honest
    truth = victims.answers(setting.victim, judged)
    tried = SETTINGS["fashion_mnist"].surrogate_on(setting.images)
    copies = [learn(tried.network, x, p, tried.training, seed=seed, progress=progress) for seed in range(SEEDS)]
    scores = [
        metrics.theft(metrics.StolenAnswers(victims.answers(copy, judged), truth, judged.labels)) for copy in copies
    ]
    return {
        "victim": "Fashion-MNIST", "coded": coded, "accounts": accounts, "answers": len(x), "seeds": SEEDS,
        "most_frequent_answer": prevalence(p.argmax(-1)), "surrogate": tried.network.name, "n_test": len(judged),
        **{name: [round(score[name], 4) for score in scores] for name in ("stealer_accuracy", "fidelity")},
    }  # fmt: skip


def with_code_of(like: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return images (N, 1, H, W) moved as little as alternating projections find to have the code of one, (1, H, W)."""
    pixels = x.shape[-2] * x.shape[-1]
    basis = low_frequencies(np.eye(pixels, dtype=np.float32).reshape(pixels, *x.shape[1:])).take(ORDER, 1)
    back = np.linalg.pinv(basis)
    wanted = low_frequencies(like[None]).take(ORDER, 1)[0]
    above, moved = wanted > np.median(wanted), x.reshape(len(x), -1)
    for _ in range(PASSES):
        now = moved @ basis
        middle = np.sort(now, axis=1)[:, NEAR_BITS // 2, None]
        aim = np.where(above, np.maximum(now, middle + APART), np.minimum(now, middle - APART))
        moved = np.clip(moved + (aim - now) @ back, 0, 1)
    return Pixels.quantize(moved.reshape(x.shape).astype(np.float32))


def _drawn(setting: Setting, kind: str, count: int, account: int) -> Tensor:
    """Return scores of so many inputs of the pool, or of the task."""
    scores = torch.from_numpy(setting.scores("plain", kind))
    seed = 2 * account + (kind == "pool")
    return scores[torch.randint(len(scores), (count,), generator=torch.Generator().manual_seed(seed))]


def _accused(test: SequentialTest, stream: Tensor) -> float:
    """Return the number of queries until the accusation; infinite for none."""
    return first_accusation(test.replay(stream[None])[0].numpy())


def _answers(odd: Tensor, accused: float) -> float:
    return accused if np.isinf(accused) else float(odd[: int(accused)].sum())


def _row(victim: str, attacker: str, answers: list[float], most: int) -> Row:
    """Return a row: the median of the answers from the pool before the accusation, None where half are not accused."""
    median = float(np.quantile(answers, 0.5, method="lower"))
    return {
        "victim": victim, "attacker": attacker, "accounts": len(answers), "seed": 0,
        "accused": float(np.isfinite(answers).mean()), "median_answers": median if np.isfinite(median) else None,
        "most_answers": most,
    }  # fmt: skip
