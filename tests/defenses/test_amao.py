"""AMAO: label flips keyed by the appearance of an image, and the test that recognises a copy of them."""

import pytest
import torch
from tests.support.problems import Linear

from feint.defenses.amao import amao
from feint.defenses.outputs import LabelFlip
from feint.defenses.outputs.looks import hashes
from feint.errors import BadRecipe
from feint.query import Query, quantize
from feint.service import Defense, Service
from feint.victims import predict


def images(n: int, seed: int = 0) -> torch.Tensor:
    """Smooth images that look different."""
    coarse = torch.rand(n, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, (32, 32), mode="bicubic", align_corners=False).clamp(0, 1)


MODEL = Linear(3 * 32 * 32, 10)
X = quantize(images(200))  # a keyed defense's model sees no other
FLIP = LabelFlip("secret")


def test_label_flip_swaps_two_classes_and_changes_nothing_else():
    p = predict(MODEL, X)
    q = FLIP(p, X)
    assert (q.argmax(-1) != p.argmax(-1)).all()
    assert ((q != p).sum(-1) <= 2).all()
    assert torch.equal(q.sort(-1).values, p.sort(-1).values)
    assert not torch.equal(LabelFlip("other")(p, X), q)


def test_flips_are_spread_over_all_other_classes():
    p = torch.zeros(2000, 5)
    p[:, 2] = 1.0
    counts = FLIP(p, images(2000)).argmax(-1).bincount(minlength=5)
    assert counts[2] == 0
    assert (counts[[0, 1, 3, 4]] > 400).all()


@pytest.mark.parametrize("classes", [2, 5])
def test_labels_say_nothing_at_the_share_at_which_all_classes_are_as_likely(classes):
    flip, x = LabelFlip("secret", share=(classes - 1) / classes), images(3000)
    for label in (0, 1):
        p = torch.zeros(3000, classes)
        p[:, label] = 1.0
        shares = flip(p, x).argmax(-1).bincount(minlength=classes) / 3000
        assert torch.allclose(shares, torch.full((classes,), 1 / classes), atol=0.04)


def test_a_pair_that_was_not_swapped_marks_no_copy():
    service = Service(MODEL, Defense(outputs=[LabelFlip("secret", share=0.5)]))
    changed = service(Query(X)).p.argmax(-1) != predict(MODEL, X).argmax(-1)
    pairs = service.ledger.shared.rows("flips/pairs").array
    assert 0 < len(pairs) <= changed.sum() < len(X)
    assert {row.tobytes() for row in pairs[:, :-1]} <= {row.tobytes() for row in X[changed].flatten(1).numpy()}


def test_images_that_look_the_same_have_near_hashes_and_others_have_not():
    noisy = (X + 0.02 * torch.randn(X.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    same = (hashes(noisy) - hashes(X)).abs().sum(-1)
    other = (hashes(X) - hashes(X).roll(1, 0)).abs().sum(-1)
    assert same.float().mean() < 4
    assert other.min() > 8


def test_on_a_line_a_slightly_changed_image_gets_the_same_wrong_label():
    service = Service(MODEL, Defense(outputs=[FLIP]))
    x = X[:50]
    first = service(Query(x)).p.argmax(-1)
    noisy = (x + 0.005 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    same_label = predict(MODEL, noisy).argmax(-1) == predict(MODEL, x).argmax(-1)
    near = (hashes(noisy) - hashes(x)).abs().sum(-1) <= FLIP.near
    again = service(Query(noisy)).p.argmax(-1)
    assert (same_label & near).sum() > 25
    assert torch.equal(again[same_label & near], first[same_label & near])


def test_a_marked_user_meets_flips_and_an_unmarked_one_does_not():
    class Marks:
        def observe(self, query, z, account):
            return 1.0 if query.client == "mallory" else 0.0

    service = Service(MODEL, amao(Marks(), FLIP))
    assert torch.equal(service(Query(X, "alice")).p, predict(MODEL, X))
    assert (service(Query(X, "mallory")).p.argmax(-1) != predict(MODEL, X).argmax(-1)).all()


def test_a_flip_without_a_key_or_of_no_share_is_refused():
    with pytest.raises(BadRecipe, match="secret"):
        LabelFlip("")
    for share in (0.0, 1.5):
        with pytest.raises(BadRecipe, match="share"):
            LabelFlip("secret", share=share)
