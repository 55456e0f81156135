"""Batches, orders and devices: what every experiment stands on."""

import pytest
import torch

from jepalign.errors import InputError
from jepalign.simulations.data import PairedViews, both_orders, digit_views, other_view


@pytest.fixture
def views() -> PairedViews:
    x = torch.arange(20, dtype=torch.float64).reshape(10, 2)
    return PairedViews(x, -x)


def test_an_epoch_visits_every_sample_once_and_keeps_pairs_together(views: PairedViews) -> None:
    batches = list(views.batches(5, 4, seed=3))
    assert len(batches) == 4
    for first, second in (batches[:2], batches[2:]):
        seen = torch.cat((first[0], second[0]))
        assert torch.equal(seen[seen[:, 0].argsort()], views.x)
    assert all(torch.equal(x, -y) for x, y in batches)
    assert not torch.equal(batches[0][0], batches[2][0])  # the second epoch has an order of its own


def test_a_last_batch_that_is_too_small_is_left_out(views: PairedViews) -> None:
    assert {len(x) for x, _ in views.batches(4, 7, seed=0)} == {4}


def test_the_order_of_batches_is_a_function_of_the_seed(views: PairedViews) -> None:
    torch.manual_seed(1)
    first = [x for x, _ in views.batches(3, 6, seed=7)]
    torch.manual_seed(2)
    assert all(torch.equal(a, b) for a, (b, _) in zip(first, views.batches(3, 6, seed=7), strict=True))
    assert not all(torch.equal(a, b) for a, (b, _) in zip(first, views.batches(3, 6, seed=8), strict=True))


@pytest.mark.parametrize("size", [0, 11])
def test_impossible_batches_are_refused(views: PairedViews, size: int) -> None:
    with pytest.raises(InputError, match="number of samples"):
        next(views.batches(size, 1, seed=0))


def test_views_of_different_shapes_are_refused() -> None:
    with pytest.raises(InputError, match="must be"):
        PairedViews(torch.zeros(3, 2), torch.zeros(3, 4))


def test_the_other_view_of_a_batch_in_both_orders_is_its_target(views: PairedViews) -> None:
    contexts, targets = both_orders(views.x, views.y)
    assert torch.equal(other_view(contexts), targets)
    assert torch.equal(other_view(other_view(contexts)), contexts)
    cross = targets.T @ contexts
    assert torch.equal(cross, cross.T)


def test_digits_come_in_float64_whatever_the_default() -> None:
    views = digit_views(device=torch.device("cpu"), seed=0)
    assert views.x.shape == views.y.shape == (1797, 64)
    assert views.x.dtype == torch.float64
    # Centred over both views together; 3594 terms of size below 2 round by at most 3594 u · 2 in the mean.
    assert torch.cat((views.x, views.y)).mean(0).abs().max() < 3594 * 2.0**-53 * 2
