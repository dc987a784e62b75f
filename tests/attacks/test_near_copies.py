"""Near copies of an input: the least that draws keyed noise anew, and what their mean tells."""

import numpy as np
import pytest
import torch
from tests.examples import DOMAINS
from tests.support.problems import LinearOn

from feint.attacks import Averaged, NearCopies
from feint.defenses.outputs import GaussianNoise
from feint.errors import BadInput
from feint.service import Defense, Service
from feint.signature import mark
from feint.victims import predict


def images(n: int, seed: int) -> torch.Tensor:
    return torch.rand(n, 3, 4, 4, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("domain", [DOMAINS["Pixels"], DOMAINS["Columns"]], ids=["Pixels", "Columns"])
def test_near_copies_are_of_the_domain_and_differ_by_the_least_that_draws_anew(domain):
    x = domain.sample(20, 3)
    sent = NearCopies(repeats=30, changed=1).send(torch.from_numpy(x)).numpy()
    domain.check(sent)
    copies = sent.reshape(20, 30, -1)
    assert (np.nan_to_num(copies) != np.nan_to_num(x.reshape(20, 1, -1))).sum(-1).max() == 1
    assert len({*mark(sent[:30])}) > 5
    origin = np.nan_to_num(x.reshape(20, 1, -1))
    most = 1 / 255 if x.dtype == np.float32 else 30e-5 * np.abs(origin) + 1e-12
    assert (np.abs(np.nan_to_num(copies) - origin) <= 1.001 * most).all()


def test_near_copies_of_texts_end_in_spaces():
    domain = DOMAINS["Text"]
    x = domain.from_strings(["one", "", "a" * (domain.length - 1), " two "])
    sent = NearCopies(3).send(torch.from_numpy(x)).numpy()
    domain.check(sent)
    long = "a" * (domain.length - 1)
    assert domain.to_strings(sent[:9]) == ["one", "one ", "one  ", "", " ", "  ", long, long + " ", long + " "]
    assert [text.rstrip() for text in domain.to_strings(sent[9:])] == [" two"] * 3


def test_near_copies_of_codes_are_repeats():
    x = torch.tensor([[1.0, 0.0, 40.0], [2.0, torch.nan, 38.0]], dtype=torch.float64)
    assert torch.equal(NearCopies(3).send(x).nan_to_num(-1), x.repeat_interleave(3, 0).nan_to_num(-1))


def test_near_copies_average_keyed_noise_away_and_repeats_do_not():
    noise = GaussianNoise("key", scale=0.2)
    x, victim = images(20, seed=3), LinearOn(DOMAINS["Pixels"], 3).eval()
    clean = predict(victim, x)
    service = Service(victim, Defense(outputs=[noise]))

    def distance(lens):
        return (lens(service.oracle(client="a", budget=20 * 64)).ask(x) - clean).abs().sum(-1).mean()

    assert distance(NearCopies(64, noise=noise)) < 0.4 * distance(Averaged(64))
    assert distance(NearCopies(64, noise=noise)) < distance(NearCopies(64))


def test_a_share_of_the_noise_that_near_copies_have_in_common_stays_in_their_mean():
    x, victim = images(20, seed=3), LinearOn(DOMAINS["Pixels"], 3).eval()
    clean = predict(victim, x)
    distances = []
    for share in (0.0, 0.5):
        noise = GaussianNoise("key", scale=0.2, perceptual=share)
        oracle = Service(victim, Defense(outputs=[noise])).oracle(client="a", budget=20 * 64)
        distances.append((NearCopies(64, noise=noise)(oracle).ask(x) - clean).abs().sum(-1).mean())
    assert distances[0] < 0.6 * distances[1]


def test_near_copies_name_what_other_domains_use():
    with pytest.raises(BadInput, match="use Averaged"):
        NearCopies().require_domain(DOMAINS["Tokens"])
