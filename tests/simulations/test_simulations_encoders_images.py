"""Convolutions and transformers: shapes, what they see, seeds, and that a last layer without bias closes each encoder."""

import pytest
import torch

from jepalign.errors import InputError
from jepalign.simulations.encoders import ActionPredictor, Convolutional, PatchPredictor, VisionTransformer


def test_convolutional_encoder() -> None:
    x = torch.randn(7, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    first, same, other = (Convolutional(8, (4, 6), 5, "relu", seed=seed) for seed in (1, 1, 2))
    assert first(x).shape == (7, 5)
    assert torch.equal(first(x), same(x))
    assert not torch.equal(first(x), other(x))
    assert torch.equal(first(x), first.backbone(x) @ first.last.weight.T)
    # Stride 2 twice: 8 × 8 to 2 × 2 with 6 channels. The second moment of features stays of order one.
    assert first.last.weight.shape == (5, 24)
    assert 0.1 < first.backbone(x).square().mean().item() < 3
    assert (
        sum(
            isinstance(m, torch.nn.BatchNorm2d)
            for m in Convolutional(8, (4,), 5, "gelu", seed=0, normalize=True).modules()
        )
        == 1
    )
    with pytest.raises(InputError, match="activation"):
        Convolutional(8, (4,), 5, "sine", seed=0)
    with pytest.raises(InputError, match="channels"):
        Convolutional(8, (), 5, "relu", seed=0)


def small() -> VisionTransformer:
    return VisionTransformer(side=12, patch=4, width=24, depth=2, heads=3, seed=3)


def test_patches_are_cut_row_by_row() -> None:
    image = torch.arange(144.0).reshape(1, 12, 12)
    patches = small().patches(image)
    assert patches.shape == (1, 9, 16)
    assert torch.equal(patches[0, 1].reshape(4, 4), image[0, :4, 4:8])
    assert torch.equal(patches[0, 3].reshape(4, 4), image[0, 4:8, :4])
    assert torch.equal(small().patches(image.reshape(1, 144)), patches)


def test_a_transformer_sees_only_visible_patches() -> None:
    encoder, generator = small(), torch.Generator().manual_seed(4)
    x = torch.randn(2, 144, generator=generator)
    visible = torch.tensor([[0, 4, 8], [1, 2, 5]])
    z = encoder(x, visible)
    assert z.shape == (2, 3, 24)
    changed = x.reshape(2, 12, 12).clone()
    changed[0, :4, 4:8] += 1.0  # patch 1: hidden from the first image, visible in the second
    changed[1, :4, 4:8] += 1.0
    again = encoder(changed.reshape(2, 144), visible)
    assert torch.equal(again[0], z[0])
    assert not torch.allclose(again[1], z[1])
    # Of all patches in any order the embeddings are those of the whole image in that order.
    order = torch.tensor([[8, 7, 6, 5, 4, 3, 2, 1, 0]] * 2)
    assert torch.allclose(encoder(x, order), encoder(x).flip(1), atol=1e-6)
    assert encoder.last.bias is None
    assert torch.allclose(encoder.last(encoder.features(x, visible)), z)


def test_predictions_depend_on_what_is_asked() -> None:
    encoder, predictor = small(), PatchPredictor(24, 3, width=12, depth=2, heads=3, seed=5)
    x = torch.randn(2, 144, generator=torch.Generator().manual_seed(6))
    visible, hidden = torch.tensor([[0, 4, 8]] * 2), torch.tensor([[1, 2], [2, 1]])
    found = predictor(encoder(x, visible), visible, hidden)
    assert found.shape == (2, 2, 24)
    swapped = predictor(encoder(x, visible), visible, hidden.flip(1))
    assert torch.allclose(swapped, found.flip(1), atol=1e-6)
    assert not torch.allclose(found[:, 0], found[:, 1], atol=1e-4)


def test_sizes_must_divide() -> None:
    with pytest.raises(InputError, match="patch"):
        VisionTransformer(side=30, patch=4, seed=0)
    with pytest.raises(InputError, match="width"):
        VisionTransformer(side=32, patch=4, width=50, heads=3, seed=0)


def test_embeddings_at_first_are_of_order_one() -> None:
    x = torch.rand(4, 1024, generator=torch.Generator().manual_seed(7))
    z = VisionTransformer(seed=8)(x)
    assert 0.05 < z.square().mean().item() < 5
    assert z.shape == (4, 64, 192)


def test_actions_enter_the_prediction() -> None:
    predictor = ActionPredictor(3, 2, seed=9)
    z, a = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 2, dtype=torch.float64)
    assert torch.equal(predictor(z, a), predictor(z))  # P_a starts at 0
    assert predictor.action is not None
    torch.nn.init.ones_(predictor.action.weight)
    assert torch.allclose(predictor(z, a) - predictor(z), a.sum(1, keepdim=True).expand(5, 3))
    assert ActionPredictor(3, seed=9).action is None
