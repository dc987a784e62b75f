"""Calibration on the recorded queries of clients: of a sequential test, and of a campaign's probation."""

from dataclasses import replace

from torch import nn

from feint.data import Split
from feint.defenses.access.campaign import Campaign
from feint.defenses.access.clients import ClientThreshold, ProbationLevel, probation_level, threshold
from feint.defenses.access.sequential_test import SequentialTest
from feint.defenses.scores import scores
from feint.errors import BadInput
from feint.ledger import Account
from feint.progress import NO_PROGRESS, ProgressCallback
from feint.query import Query

CHUNK = 100  # queries of a client at once


def for_clients(
    test: SequentialTest, victim: nn.Module, recorded: Split, share: float, progress: ProgressCallback = NO_PROGRESS
) -> tuple[SequentialTest, ClientThreshold]:
    """Return a test at the level that fewer than a share of clients reach.

    Evidence is a multiple of log 1/alpha, so that the level becomes the alpha of the new test: alpha ** level.

    Args:
        test: A fitted test.
        victim: The model that it was fitted to.
        recorded: Queries of honest clients in order of arrival; the label of a query is the number of its client.
        share: Share of honest clients who may be accused, in (0, 1).
        progress: Progress callback.

    Returns:
        The test, and how its level was calibrated.

    Raises:
        BadInput: There are too few clients, or the test has a `burst`.
    """
    if test.burst > 1:
        raise BadInput(f"a test with burst={test.burst}", "burst=1", "leave it out: recorded clients have their bursts")
    martingale, highest = test.martingale(), []
    s = scores(test.ranked_score, victim, recorded, progress).numpy()
    for client in recorded.labels.unique().tolist():
        account, most = Account(f"{client}"), 0.0
        for rows in (recorded.labels == client).nonzero().flatten().split(CHUNK):
            most = martingale.observe(s[rows.numpy()], Query(recorded.inputs(rows), account.client, time=0.0), account)
        highest.append(most)
    calibrated = threshold(highest, share)
    return replace(test, alpha=test.alpha**calibrated.level), calibrated


def for_newcomers(
    campaign: Campaign, victim: nn.Module, recorded: Split, share: float, progress: ProgressCallback = NO_PROGRESS
) -> tuple[Campaign, ProbationLevel]:
    """Return a campaign at whose `probation` at most a share of an honest newcomer's answers change.

    That is so during an alarm, however long it lasts; without one, probation changes none.

    Args:
        campaign: A fitted campaign.
        victim: The model that it was fitted to.
        recorded: Queries of honest newcomers in order of arrival; the label of a query is the number of its client.
        share: Share of the answers to a newcomer that may change in expectation, in (0, 1).
        progress: Progress callback.

    Returns:
        The campaign, and how its level was calibrated. Too few newcomers raise `BadInput`.
    """
    cohort, p_values = campaign.cohort(), []
    s = scores(campaign.test.ranked_score, victim, recorded, progress).numpy()
    for client in recorded.labels.unique().tolist():
        rows = (recorded.labels == client).nonzero().flatten()[: campaign.newcomers]
        query = Query(recorded.inputs(rows), f"{client}", time=0.0)
        ranks, counts = cohort.record(s[rows.numpy()], query.near, Account(query.client))
        p_values.append(cohort.levels(ranks, counts))
    calibrated = probation_level(p_values, share)
    return replace(campaign, probation=calibrated.level), calibrated
