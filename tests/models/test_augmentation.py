"""Augmentation of training batches: whole images, and targets that stay consistent with them."""

import torch

from feint.models.augmentation import augment, cutout, mixup, smoothed


def test_augmentation_shifts_and_mirrors_whole_images():
    torch.manual_seed(0)
    image = torch.arange(25.0).view(1, 1, 5, 5).expand(200, 1, 5, 5) + 1
    shifted = augment(image, 2, False)
    assert shifted.shape == image.shape
    assert shifted.amin() == 0  # black came in
    assert {tuple(image.flatten().tolist()) for image in augment(image, 0, True)} == {
        tuple(image[0].flatten().tolist()),
        tuple(image[0].flip(-1).flatten().tolist()),
    }
    corners = shifted[:, 0, 2, 2].unique()
    assert corners.numel() == 25  # all 5 × 5 shifts occur, and nothing but pixels of the image is in the middle
    assert torch.equal(augment(image, 0, False), image)


def test_cutout_erases_one_square_in_all_channels():
    torch.manual_seed(0)
    images = torch.rand(100, 3, 9, 7)
    pixels = cutout(images, 3) != images
    changed = pixels.all(1)
    assert torch.equal(changed, pixels.any(1))
    sizes = changed.sum((1, 2))
    assert sizes.max() == 9
    assert sizes.min() >= 4  # the centre is a pixel of the image
    for one in changed:
        rows, columns = one.any(1), one.any(0)
        assert torch.equal(one, rows.unsqueeze(1) & columns.unsqueeze(0))


def test_erased_pixels_have_the_mean_of_their_image():
    images = torch.rand(5, 1, 6, 6)
    erased = cutout(images, 2)
    for image, new in zip(images, erased, strict=True):
        torch.testing.assert_close(new[new != image].unique(), image.mean().view(1))


def test_mixup_blends_targets_as_it_blends_inputs():
    torch.manual_seed(0)
    rows = torch.rand(50, 4).softmax(-1)
    x, targets = mixup(rows.view(50, 4, 1, 1), rows, 0.4)
    torch.testing.assert_close(x.flatten(1), targets)
    torch.testing.assert_close(targets.sum(-1), torch.ones(50))
    assert not torch.allclose(targets, rows)


def test_labels_are_smoothed_and_probabilities_are_not():
    labels = torch.eye(4)
    torch.testing.assert_close(smoothed(labels, 0.2)[0], torch.tensor([0.85, 0.05, 0.05, 0.05]))
    rows = torch.cat([labels, torch.full((1, 4), 0.25)])
    assert torch.equal(smoothed(rows, 0.2), rows)
