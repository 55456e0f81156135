"""I-JEPA by Hugging Face's ``transformers`` on handwritten digits, recorded: ``python ijepa_transformers.py FOLDER``.

Needs ``pip install 'jepalign[examples]'``; weights are random at first, and nothing is downloaded. The encoder ends in a
layer norm, so that its embeddings alone are recorded, token by token, and only where the image was masked.
``jepalign diagnose FOLDER`` reads them.
"""

import copy
import sys

import torch
from torch import Tensor, nn
from transformers import IJepaConfig, IJepaModel

from jepalign.datasets import digits
from jepalign.simulations.recording import Recorder

MOMENTUM, BATCH = 0.99, 128


def masks(count: int, side: int, generator: torch.Generator) -> Tensor:
    """Return a square of half the side, somewhere in each of ``count`` images, masked: (count, side²), bool."""
    length = side // 2
    corner = torch.randint(side - length + 1, (2, count, 1), generator=generator)
    inside = (torch.arange(side) >= corner) & (torch.arange(side) < corner + length)
    return (inside[0][:, :, None] & inside[1][:, None, :]).flatten(1)


def main(out: str, steps: int = 400) -> Recorder:
    """Train, write records into the folder ``out``, and return the recorder."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    images = torch.from_numpy(digits().images).float().reshape(-1, 1, 8, 8)
    config = IJepaConfig(
        image_size=8, patch_size=2, num_channels=1, hidden_size=48, num_hidden_layers=3, num_attention_heads=4,
        intermediate_size=96,
    )  # fmt: skip
    encoder = IJepaModel(config, use_mask_token=True)
    target = copy.deepcopy(encoder).requires_grad_(False)
    predictor = nn.Sequential(nn.TransformerEncoderLayer(48, 4, 96, dropout=0.0, batch_first=True), nn.Linear(48, 48))
    optimizer = torch.optim.AdamW([*encoder.parameters(), *predictor.parameters()], lr=1e-3, weight_decay=0.05)
    with Recorder(
        encoder,
        predictor,
        target=target,
        out=out,
        optimizer=optimizer,
        read=lambda output: output.last_hidden_state,
        settings={"ema_momentum": MOMENTUM, "steps": steps, "loss": "mean"},
    ) as recorder:
        for _ in range(steps):
            pixels = images[torch.randint(len(images), (BATCH,), generator=generator)]
            masked = masks(BATCH, 4, generator)
            prediction = predictor(encoder(pixels, bool_masked_pos=masked).last_hidden_state)
            with torch.no_grad():
                goal = target(pixels).last_hidden_state
            loss = nn.functional.mse_loss(prediction[masked], goal[masked])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                for mine, online in zip(target.parameters(), encoder.parameters(), strict=True):
                    mine.lerp_(online, 1 - MOMENTUM)
            # Tokens that are seen need no prediction.
            recorder.step(mask=masked)
    return recorder


if __name__ == "__main__":
    recorded = main(sys.argv[1])
    print(recorded.measures)
    assert recorded.latest is not None
    for name, value in recorded.latest.summary().items():
        print(f"{name:26} {value:.4g}")
