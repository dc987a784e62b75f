"""Metrics of answers, models and defenses.

In all of them `p` (N, K) are the clean answers and `q` (N, K) the perturbed ones, with rows on the simplex. `y` (N,)
are the true classes.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from feint.data import Split
from feint.evaluation.cost import added_mb_per_1000, added_ms_per_1000
from feint.evaluation.decisions import (
    auc,
    auroc,
    balanced_accuracy,
    prevalence,
    rate_agreement,
    score_rmse,
    threshold_agreement,
)
from feint.i18n import LANGUAGES
from feint.models.simplex import kl
from feint.query import Query
from feint.service import Service
from feint.victims import answers

DECIMALS = 6  # of the API's answers, by default


def accuracy(p: Tensor, y: Tensor) -> float:
    """Return the share of rows whose largest value (the first of equals) is at the true class."""
    return _mean(p.argmax(-1) == y)


def label_kept(q: Tensor, p: Tensor) -> float:
    """Return the share of rows whose label the defense does not change."""
    return _mean(q.argmax(-1) == p.argmax(-1))


def order_kept(q: Tensor, p: Tensor, *, top: int | None = None) -> float:
    """Return the share of rows whose first `top` ranks (all if None) do not change; equals rank by lowest index."""
    ranks = [v.sort(dim=-1, descending=True, stable=True).indices[:, :top] for v in (q, p)]
    return _mean((ranks[0] == ranks[1]).all(-1))


def l1(q: Tensor, p: Tensor) -> float:
    """Return the mean Σ |q − p|, 0 to 2."""
    return (q - p).abs().sum(-1).mean().item()


def cosine(q: Tensor, p: Tensor) -> float:
    """Return the mean cosine of the angle between q and p."""
    return torch.cosine_similarity(q, p, dim=-1).mean().item()


def ece(p: Tensor, y: Tensor, *, bins: int = 15) -> float:
    """Return the expected calibration error over equal bins of the largest probability (Guo et al., ICML 2017)."""
    confidence, label = p.max(-1)
    index = (confidence * bins).long().clamp_max(bins - 1)
    gaps = torch.zeros(bins, dtype=torch.float64)
    gaps.index_add_(0, index, (confidence - (label == y).float()).double())
    return gaps.abs().sum().item() / max(1, len(p))


def confidence_auroc(p: Tensor, y: Tensor) -> float:
    """Return the AUROC of the largest probability as a sign of a right answer."""
    return auroc(p.amax(-1), p.argmax(-1) == y)


def rounded(p: Tensor, decimals: int = DECIMALS) -> Tensor:
    """Return the answers as a client reads them from an API that returns so many decimals."""
    return p.double().round(decimals=decimals)


def stealer_accuracy(surrogate: nn.Module, test: Split) -> float:
    """Return the accuracy of the surrogate on the test set."""
    return accuracy(answers(surrogate, test), test.labels)


def fidelity(surrogate: nn.Module, victim: nn.Module, test: Split) -> float:
    """Return the share of the test set on which surrogate and undefended victim agree."""
    return label_kept(answers(surrogate, test), answers(victim, test))


@dataclass(frozen=True)
class AnswerSet:
    """The answers to a test set of N inputs and K classes.

    Attributes:
        p: Clean answers (N, K).
        q: Defended answers (N, K).
        received: Defended answers as a client reads them, rounded by the API (N, K).
        y: True classes (N,).
        threshold: The owner's threshold, if there is one.
    """

    p: Tensor
    q: Tensor
    received: Tensor
    y: Tensor
    threshold: float | None = None


@dataclass(frozen=True)
class StolenAnswers:
    """The answers of a surrogate and its victim to a test set of N inputs and K classes.

    Attributes:
        stolen: Answers of the surrogate (N, K).
        p: Clean answers of the victim (N, K).
        y: True classes (N,).
        threshold: The owner's threshold, if there is one.
    """

    stolen: Tensor
    p: Tensor
    y: Tensor
    threshold: float | None = None


@dataclass(frozen=True)
class Metric:
    """A score of a row, with the measure and the form in tables.

    Attributes:
        name: Key of the score in a row.
        group: "theft" (a surrogate), "utility" (honest clients), "cost" (the owner), "springboard" (later attacks) or
            "ownership" (claims).
        unit: "%" for shares, which tables show times 100.
        decimals: Decimals in tables.
        labels: Column head in English and Chinese; empty for a score that no table shows.
        measure: The score as a function of the answers, a `StolenAnswers` in the group "theft" and an `AnswerSet` in
            "utility"; None for a score that needs more than answers.
        in_summary: Whether the table that a bench prints has a column for it.
        counted: Whether the score is a share of the test inputs, which has an interval.
    """

    name: str
    group: str
    unit: str
    decimals: int
    labels: tuple[str, ...] = ()
    measure: Callable[[Any], float] | None = None
    in_summary: bool = False
    counted: bool = False

    def label(self, language: str = "en") -> str:
        """Return the column head in a language."""
        return self.labels[LANGUAGES.index(language)]

    def shown(self, scores: Mapping[str, float]) -> str:
        """Return the score as tables show it; empty where it was not measured."""
        factor = 100 if self.unit == "%" else 1
        return f"{factor * scores[self.name]:.{self.decimals}f}" if self.name in scores else ""


METRICS = (
    Metric(
        "stealer_accuracy", "theft", "%", 1, ("Stealer accuracy", "窃取准确率"),
        measure=lambda a: accuracy(a.stolen, a.y), in_summary=True, counted=True,
    ),
    Metric(
        "fidelity", "theft", "%", 1, ("Fidelity", "保真度"),
        measure=lambda a: label_kept(a.stolen, a.p), in_summary=True, counted=True,
    ),
    Metric(
        "stealer_balanced_accuracy", "theft", "%", 1, ("Balanced accuracy", "平衡准确率"),
        measure=lambda a: balanced_accuracy(a.stolen, a.y),
    ),
    Metric("stealer_auc", "theft", "", 3, ("AUC", "AUC"), measure=lambda a: auc(a.stolen, a.y)),
    Metric("stealer_rmse", "theft", "", 3, ("Score RMSE", "分数 RMSE"), measure=lambda a: score_rmse(a.stolen, a.p)),
    Metric(
        "threshold_agreement", "theft", "%", 1, ("Agreement at threshold", "阈值处一致率"),
        measure=lambda a: threshold_agreement(a.stolen, a.p, a.threshold), counted=True,
    ),
    Metric(
        "rate_agreement", "theft", "%", 1, ("Agreement at 1% FPR", "误报率 1% 时的一致率"),
        measure=lambda a: rate_agreement(a.stolen, a.p, a.y), counted=True,
    ),
    Metric(
        "defender_accuracy", "utility", "%", 2, ("Defender accuracy", "防御后准确率"),
        measure=lambda a: accuracy(a.received, a.y), in_summary=True,
    ),
    Metric(
        "victim_accuracy", "utility", "%", 2, ("Victim accuracy", "受害模型准确率"),
        measure=lambda a: accuracy(a.p, a.y),
    ),
    Metric("prevalence", "utility", "%", 2, ("Most frequent class", "最多类占比"), measure=lambda a: prevalence(a.y)),
    Metric(
        "defender_balanced_accuracy", "utility", "%", 2, ("Balanced accuracy", "平衡准确率"),
        measure=lambda a: balanced_accuracy(a.received, a.y),
    ),
    Metric("victim_balanced_accuracy", "utility", "%", 2, measure=lambda a: balanced_accuracy(a.p, a.y)),
    Metric("defender_auc", "utility", "", 3, ("AUC", "AUC"), measure=lambda a: auc(a.received, a.y)),
    Metric("victim_auc", "utility", "", 3, ("Victim AUC", "受害模型 AUC"), measure=lambda a: auc(a.p, a.y)),
    Metric(
        "label_kept", "utility", "%", 2, ("Label kept", "标签保持率"), measure=lambda a: label_kept(a.received, a.p)
    ),
    Metric(
        "decision_kept", "utility", "%", 2, ("Decision kept", "决策保持率"),
        measure=lambda a: threshold_agreement(a.received, a.p, a.threshold),
    ),
    Metric("order_kept", "utility", "%", 2, measure=lambda a: order_kept(a.received, a.p)),
    Metric("kl", "utility", "nats", 2, ("KL", "KL 散度"), measure=lambda a: kl(a.q, a.p), in_summary=True),
    Metric("l1", "utility", "", 2, ("L1", "L1 距离"), measure=lambda a: l1(a.q, a.p), in_summary=True),
    Metric("cosine", "utility", "", 2, measure=lambda a: cosine(a.q, a.p)),
    Metric("ece", "utility", "", 3, ("ECE", "校准误差（ECE）"), measure=lambda a: ece(a.received, a.y)),
    Metric("victim_ece", "utility", "", 3, measure=lambda a: ece(a.p, a.y)),
    Metric("auroc", "utility", "", 3, ("AUROC", "AUROC"), measure=lambda a: confidence_auroc(a.received, a.y)),
    Metric("victim_auroc", "utility", "", 3, measure=lambda a: confidence_auroc(a.p, a.y)),
    Metric("added_ms_per_1000", "cost", "ms", 2, ("Added ms", "附加毫秒"), in_summary=True),
    Metric("added_mb_per_1000", "cost", "MiB", 2, ("Added MiB", "附加内存（MiB）")),
    Metric("transfer_random", "springboard", "%", 1, ("Random signs", "随机扰动")),
    Metric("transfer_fgsm", "springboard", "%", 1, ("Transfer, FGSM", "FGSM 迁移率")),
    Metric("transfer_pgd", "springboard", "%", 1, ("Transfer, PGD", "PGD 迁移率")),
    Metric("membership_auroc", "springboard", "", 3, ("Membership, AUROC", "成员推断 AUROC")),
    Metric("membership_tpr", "springboard", "%", 1, ("Membership, found at 1% false", "误报率 1% 时的成员检出率")),
    Metric("claimed", "ownership", "%", 0, ("Claimed", "被主张"), counted=True),
    Metric("claimed_same_mistakes", "ownership", "%", 0, ("by mistakes", "凭错误")),
    Metric("claimed_triggers", "ownership", "%", 0, ("by triggers", "凭触发样本")),
    Metric("claimed_trained_mark", "ownership", "%", 0, ("by trained mark", "凭训练水印")),
    Metric("claimed_marked_answers", "ownership", "%", 0, ("by marked answers", "凭标记回答")),
    Metric("claim_named", "ownership", "%", 0, ("accounts named", "被点名的账户")),
    Metric("claim_log_e", "ownership", "", 1, ("log10 e", "log10 e")),
    Metric("claim_asked", "ownership", "", 0, ("Asked", "提问数")),
    Metric("claim_bound", "ownership", "%", 2, ("Bound on false claims", "误报率上界")),
)  # fmt: skip


def metric(name: str) -> Metric:
    """Return the metric of this name."""
    return next(entry for entry in METRICS if entry.name == name)


def group(name: str) -> list[Metric]:
    """Return the metrics of a group that tables show, in the order of their columns."""
    return [entry for entry in METRICS if entry.group == name and entry.labels]


def theft(answers: StolenAnswers) -> dict[str, float]:
    """Return the scores of a theft by the names in `METRICS`, without those that have no value here."""
    return _measured("theft", answers)


def _measured(name: str, answers: StolenAnswers | AnswerSet) -> dict[str, float]:
    measures = [(entry.name, entry.measure) for entry in METRICS if entry.group == name and entry.measure is not None]
    return {score: value for score, measure in measures if not math.isnan(value := measure(answers))}


def utility(
    service: Service,
    test: Split,
    *,
    clean: Tensor | None = None,
    decimals: int = DECIMALS,
    threshold: float | None = None,
) -> dict[str, float]:
    """Measure the utility that a defense leaves to honest clients, and its cost. Access rules are left out.

    The scores are defender accuracy, balanced as well, and AUC; the distortion between clean and defended answers (KL,
    L1, cosine), label, decision and order kept; and ECE and AUROC of the confidence before and after. The cost is the
    milliseconds and the peak memory (MiB, on Linux) that the defense adds for 1,000 queries.

    Args:
        service: The model behind its defense. Its ledger is not written to.
        test: The test set.
        clean: The undefended answers (N, K), if they are known already.
        decimals: Decimals of the answers that the client reads.
        threshold: The owner's threshold, if there is one.

    Returns:
        The scores by the names in `METRICS`, without those that have no value here.
    """
    service = Service(service.model, replace(service.defense, access=()))
    queries = [Query(test.inputs(rows), client="honest") for rows in torch.arange(len(test)).split(500)]
    q = torch.cat([service(query).p for query in queries])
    p, y = answers(service.model, test) if clean is None else clean, test.labels
    scores = _measured("utility", AnswerSet(p, q, rounded(q, decimals), y, threshold))
    scores["added_mb_per_1000"] = added_mb_per_1000(service, test)
    scores["added_ms_per_1000"] = added_ms_per_1000(service, test)
    return {name: score for name, score in scores.items() if not math.isnan(score)}


def _mean(hits: Tensor) -> float:
    return hits.double().mean().item()
