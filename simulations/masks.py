"""What masks leave alive (7.2): surviving rank over block length and weight decay, for both conventions of the target.

Linear encoders of tokens on a ring see every mask of a law, so that their moments are the law's exactly; on a line, where modes are
coupled, on images and under a nonlinearity the prediction is a bound or is made from measured features.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from jepalign.datasets import digits, token_sequences
from jepalign.linear_models import ViewPair
from jepalign.linear_models.masking.laws import IndependentMasks, MaskLaw, exponential_tokens
from jepalign.linear_models.masking.spectrum import spectrum
from jepalign.linear_models.uniformity import Spectral
from jepalign.measurements import Measurement
from jepalign.simulations.encoders import MLP, linear_predictor
from jepalign.simulations.ensembles import Members, Method, train_ensemble
from jepalign.simulations.last_layer import last_layer
from jepalign.simulations.results import REFUSAL, Row, Series, check_scale, counter, measured, row, stated
from jepalign.simulations.training import JEPA, Progress, Rates, Status, device_named, train

Target = Literal["output", "input"]
TARGETS: tuple[Target, ...] = ("output", "input")
TOKENS, CORRELATION = 12, 0.6
WIDTH = 8  # of deep encoders' embeddings
EDGE = 0.1  # so near to a threshold a mode leaves too slowly to be told from one that stays
ALIVE = 0.01  # of a singular value of W, which starts at 1
RATE = "the rank is the predicted one wherever no threshold is within 10% of η; error is 2 for every case that is not"
BOUND = "no rank exceeds the bound; error is 2 for every case that does"
NEAR = "the mean over η of |rank − prediction| is at most 15% of the width; error is it over that"
FALSE = "a false version put to the same test: at least one case is wrong"


@dataclass(frozen=True)
class MaskPlan:
    """One scale: lengths of the hidden block, weight decays, time as a multiple of 1/η, ratios of images, activations and seeds."""

    lengths: tuple[int, ...]
    decays: tuple[float, ...]
    span: float
    visible: tuple[float, ...]
    activations: tuple[str, ...]
    seeds: int
    images: int


SCALES = {
    "quick": MaskPlan((4,), (0.2, 0.45), span=15.0, visible=(0.5,), activations=("tanh",), seeds=1, images=60),
    # Cut down for a CPU: one seed of deep encoders, three ratios of images.
    "paper": MaskPlan(
        (1, 2, 4, 6, 8, 10),
        (0.06, 0.1, 0.17, 0.3, 0.5),
        span=30.0,
        visible=(0.25, 0.5, 0.75),
        activations=("tanh", "relu"),
        seeds=1,
        images=300,
    ),
}


def masks(*, device: str = "cpu", scale: str = "quick", seed: int = 0, progress: Progress | None = None) -> Measurement:
    """Measure the surviving rank of masked views against the thresholds of 7.2.

    Returns
    -------
    Measurement
        Tokens on a ring and on a line, by ``length`` of the hidden block (B,), ``weight_decay`` (E,) and ``target``: ``ring_rank`` and
        ``ring_predicted`` (2, B, E), ``ring_clear`` where no threshold is near, ``line_rank`` and ``line_bound`` (2, B, E);
        ``contrastive_rank`` and ``contrastive_predicted`` (2, B, E) of spectral contrastive encoders on the ring; ``threshold``
        (2, B, n). Images with pixels visible by ``visible`` (V,): ``image_rank``, ``image_bound`` (2, V, E), and ``law_error`` (2, V),
        the relative distance of sampled moments from the law's. Tanh and ReLU encoders of tokens, ``architecture`` (A,):
        ``deep_rank``, ``deep_start`` and ``deep_end``, predicted from the features before and after training (A, 2, B', S, E), the
        lengths being ``deep_length`` (B',). NaN after a divergence.

    Raises
    ------
    InputError
        For an unknown scale or device, or if CUDA is asked for and absent.
    """
    where = device_named(device)
    check_scale(scale, SCALES)
    plan = SCALES[scale]
    deep_lengths = plan.lengths[:: max(1, len(plan.lengths) // 3)]
    total = 2 * (2 * len(plan.lengths) + len(plan.visible)) + 2 * len(plan.activations) * len(deep_lengths)
    tell = counter(progress, total)
    rows: list[Row] = []
    arrays: dict[str, np.ndarray] = {}
    decays = np.array(plan.decays)
    for circular, place in ((True, "ring"), (False, "line")):
        found = np.full((3, len(TARGETS), len(plan.lengths), len(decays)), np.nan)
        thresholds = np.full((len(TARGETS), len(plan.lengths), TOKENS), np.nan)
        told = np.full((len(TARGETS), len(plan.lengths), len(decays)), np.nan)
        for t, target in enumerate(TARGETS):
            for b, length in enumerate(plan.lengths):
                tell(f"{place} of tokens, {target}-masked, block of {length}")
                patterns = block_patterns(length, circular=circular)
                x, y = token_views(patterns, target, circular=circular, device=where)
                law = MaskLaw.from_masks(patterns)
                seen = spectrum(
                    ViewPair.masked(exponential_tokens(TOKENS, CORRELATION, circular=circular), law, target)
                )
                thresholds[t, b, : len(seen.threshold)] = seen.threshold
                found[0, t, b] = surviving_ranks(x, y, decays, plan.span)
                told[t, b] = seen.surviving_rank(decays)
                if circular:
                    found[1, t, b] = surviving_ranks(x, y, decays, plan.span, contrastive=True)
                    found[2, t, b] = (np.real(seen.cross)[:, None] > decays).sum(0)
        if circular:
            nearest = np.abs(thresholds[..., None] / decays - 1)
            clear = ~(np.nan_to_num(nearest, nan=np.inf) < EDGE).any(axis=2)
            arrays |= {"ring_rank": found[0], "ring_predicted": told, "ring_clear": clear.astype(float)}
            arrays |= {"contrastive_rank": found[1], "contrastive_predicted": found[2], "threshold": thresholds}
            rows += ring_rows(arrays)
        else:
            arrays |= {"line_rank": found[0], "line_bound": told}
            rows += bound_rows("line of tokens", found[0], told)
    images = {key: [] for key in ("image_rank", "image_bound", "law_error")}
    for target in TARGETS:
        runs = []
        for visible in plan.visible:
            tell(f"digits, {target}-masked, {visible:.0%} visible")
            runs.append(image_run(target, visible, plan, seed, where))
        for key, values in zip(images, zip(*runs, strict=True), strict=True):
            images[key].append(np.array(values))
    arrays |= {key: np.array(values) for key, values in images.items()}
    rows += bound_rows("digits, independent pixels", arrays["image_rank"], arrays["image_bound"])
    deep = np.full((3, len(plan.activations), len(TARGETS), len(deep_lengths), plan.seeds, len(decays)), np.nan)
    for a, activation in enumerate(plan.activations):
        for t, target in enumerate(TARGETS):
            for b, length in enumerate(deep_lengths):
                tell(f"{activation} encoder of tokens, {target}-masked, block of {length}")
                for s in range(plan.seeds):
                    deep[:, a, t, b, s] = deep_run(activation, target, length, decays, plan.span, seed * 100 + s, where)
            rows += deep_rows(activation, target, deep[:, a, t])
    tell("done")
    arrays |= {key: deep[index] for index, key in enumerate(("deep_rank", "deep_start", "deep_end"))}
    arrays |= {
        "length": np.array(plan.lengths, dtype=float),
        "deep_length": np.array(deep_lengths, dtype=float),
        "weight_decay": decays,
        "target": np.array(TARGETS),
        "visible": np.array(plan.visible),
        "architecture": np.array([f"{a} {TOKENS}-32-{WIDTH}" for a in plan.activations]),
    }
    criteria = {"rank": RATE, "bound": BOUND, "deep": NEAR, "control": FALSE}
    return measured("masks", arrays, rows, stated(criteria), device=where, scale=scale, seed=seed)


def block_patterns(length: int, *, circular: bool) -> np.ndarray:
    """Return every mask that hides one block of ``length`` tokens, (K, n), 1 for visible."""
    starts = np.arange(TOKENS if circular else TOKENS - length + 1)
    offset = (np.arange(TOKENS) - starts[:, None]) % TOKENS
    return (offset >= length).astype(float)


def token_views(patterns: np.ndarray, target: Target, *, circular: bool, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return views whose second moments are those of the law of ``patterns`` exactly, (2nK, n) each: all masks of all tokens."""
    S = exponential_tokens(TOKENS, CORRELATION, circular=circular)
    design = np.linalg.qr(np.random.default_rng(0).standard_normal((2 * TOKENS, TOKENS)))[0] * np.sqrt(2 * TOKENS)
    tokens = design @ np.linalg.cholesky(S).T
    visible = (patterns[:, None] * tokens).reshape(-1, TOKENS)
    hidden = (
        np.broadcast_to(tokens, (len(patterns), *tokens.shape))
        if target == "output"
        else (1 - patterns)[:, None] * tokens
    )
    return tuple(
        torch.as_tensor(np.ascontiguousarray(part.reshape(-1, TOKENS)), device=device) for part in (visible, hidden)
    )  # type: ignore[return-value]


def surviving_ranks(x: Tensor, y: Tensor, decays: np.ndarray, span: float, *, contrastive: bool = False) -> np.ndarray:
    """Train a linear JEPA, or a spectral contrastive encoder, for every weight decay; return the ranks at the end, (E,); NaN if lost.

    Every mode starts large and on the side of its λ, the modes uncoupled but for noise of 2%.
    """
    context, cross = (part.T @ x / len(x) for part in (x, y))
    values, vectors = torch.linalg.eigh((cross + cross.T) / 2)
    n = x.shape[1]
    noise = 0.02 * np.random.default_rng(1).standard_normal((n, n))
    weight = vectors.T + torch.as_tensor(noise, device=x.device)
    signs = torch.diag(torch.where(values < 0, -1.0, 1.0).to(x))
    top = float(torch.linalg.eigvalsh(context)[-1])
    longest = span / decays.min()
    step = min(0.4 / top, 0.25)
    count = int(np.ceil(longest / step))
    # Each for its own time 1/η, all in as many steps.
    steps = np.minimum(step, span / decays / count * 2)

    def prepare(_member: int, encoder: nn.Module, predictor: nn.Module | None) -> None:
        assert isinstance(encoder, MLP)
        with torch.no_grad():
            encoder.last.weight.copy_(weight)
            if isinstance(predictor, nn.Linear):
                predictor.weight.copy_(signs)

    ensemble = train_ensemble(
        Members(seed=np.arange(len(decays)), step=steps, weight_decay=decays, explicit_strength=1.0),
        lambda own: MLP((n, n), "linear", seed=own),
        lambda _: ((x, y) for _ in range(count)),
        steps=count,
        method=Method(predictor="none", explicit=Spectral()) if contrastive else Method(),
        prepare=prepare,
        record=lambda snapshot: {"size": torch.linalg.svdvals(snapshot.weight)},
        record_steps=[count],
        device=x.device,
    )
    ranks = (ensemble.records["size"][:, 0] > ALIVE).sum(1).astype(float)
    return np.where([status == Status.DIVERGED for status in ensemble.status], np.nan, ranks)


def image_run(
    target: Target, visible: float, plan: MaskPlan, seed: int, device: torch.device
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return rank and bound (E,) of a linear JEPA of masked digits, and how far their moments are from the law's."""
    rng = np.random.default_rng(seed)
    pixels = digits().images[rng.permutation(len(digits().images))[: plan.images]]
    pixels = pixels[:, pixels.std(0) > 0.1]
    pixels = (pixels - pixels.mean(0)) / pixels.std()
    drawn = (rng.random((8, *pixels.shape)) < visible).astype(float)
    x = (drawn * pixels).reshape(-1, pixels.shape[1])
    y = np.broadcast_to(pixels, drawn.shape) if target == "output" else (1 - drawn) * pixels
    y = np.ascontiguousarray(y).reshape(x.shape)
    seen = ViewPair.from_samples(x, y, center=False)
    law = ViewPair.masked(pixels.T @ pixels / len(pixels), IndependentMasks(pixels.shape[1], visible), target)
    off = np.linalg.norm(seen.context - law.context) / np.linalg.norm(law.context)
    decays = np.array(plan.decays)
    # Moments are all that a linear encoder sees of its views: a small sample with exactly these is cheap.
    first, second = with_moments(seen, device)
    return (
        surviving_ranks(first, second, decays, plan.span),
        spectrum(seen).surviving_rank(decays).astype(float),
        float(off),
    )


def with_moments(views: ViewPair, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return a sample of 4d pairs whose second moments are those of ``views``, to rounding."""
    d = views.dimension
    joint = np.block([[views.context, views.cross.T], [views.cross, views.target]])
    values, vectors = np.linalg.eigh(joint)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    design = np.linalg.qr(np.random.default_rng(0).standard_normal((4 * d, 2 * d)))[0] * np.sqrt(4 * d)
    sample = design @ root.T
    return torch.as_tensor(sample[:, :d].copy(), device=device), torch.as_tensor(sample[:, d:].copy(), device=device)


def deep_run(
    activation: str, target: Target, length: int, decays: np.ndarray, span: float, seed: int, device: torch.device
) -> np.ndarray:
    """Train deep encoders of masked tokens; return the rank at the end, and that told by features before and after, (3, E)."""
    patterns = block_patterns(length, circular=True)
    tokens = token_sequences(30, TOKENS, correlation=CORRELATION, circular=True, seed=seed)[:, :, 0]
    visible = (patterns[:, None] * tokens).reshape(-1, TOKENS)
    hidden = (
        np.broadcast_to(tokens, (len(patterns), *tokens.shape))
        if target == "output"
        else (1 - patterns)[:, None] * tokens
    )
    x, y = (
        torch.as_tensor(np.ascontiguousarray(part).reshape(-1, TOKENS), device=device) for part in (visible, hidden)
    )
    found = np.full((3, len(decays)), np.nan)
    for e, decay in enumerate(decays):
        encoder = MLP((TOKENS, 32, WIDTH), activation, seed=seed, device=device)
        predictor = linear_predictor(WIDTH, seed=0, device=device)
        layer = last_layer(encoder, predictor, x, y)
        values, vectors = np.linalg.eigh((layer.views.cross + layer.views.cross.T) / 2)
        order = np.argsort(-np.abs(values))[:WIDTH]
        with torch.no_grad():
            # As for linear encoders: every mode of the features large, and on the side of its λ.
            encoder.last.weight.copy_(torch.as_tensor(vectors[:, order].T.copy()))
            predictor.weight.copy_(torch.diag(torch.as_tensor(np.where(values[order] < 0, -1.0, 1.0))))
        top = float(np.linalg.eigvalsh(layer.views.context)[-1])
        step = min(0.25, 0.3 / top)
        count = int(min(span / decay / step, 3000))
        train(JEPA(encoder, predictor, Rates(step=step, weight_decay=float(decay))), ((x, y) for _ in range(count)))
        after = last_layer(encoder, predictor, x, y)
        if not np.isfinite(after.encoder).all():
            continue
        sizes = np.linalg.svd(after.encoder, compute_uv=False)
        found[:, e] = (
            (sizes > ALIVE).sum(),
            min(WIDTH, int(spectrum(layer.views).surviving_rank(decay))),
            min(WIDTH, int(spectrum(after.views).surviving_rank(decay))),
        )
    return found


def wrong(predicted: np.ndarray, observed: np.ndarray, clear: np.ndarray) -> np.ndarray:
    """Return 2 for every case that counts and is not as predicted, NaN for a diverged one, else 0."""
    return np.where(np.isnan(observed), np.nan, 2.0 * (clear & (predicted != observed)))


def ring_rows(arrays: dict[str, np.ndarray]) -> list[Row]:
    """Return the rows of linear encoders of tokens on a ring, whose modes do not couple."""
    rows: list[Row] = []
    told, seen, clear = arrays["ring_predicted"], arrays["ring_rank"], arrays["ring_clear"] == 1
    for t, target in enumerate(TARGETS):
        place = f"linear, ring of {TOKENS} tokens, {target}-masked"
        errors = wrong(told[t], seen[t], clear[t])
        rows.append(row("masks: surviving rank", place, Series(told[t], seen[t], errors), criterion=RATE))
        false = wrong(told[1 - t], seen[t], clear[t]).sum(keepdims=True) * REFUSAL
        series = Series(told[1 - t].sum(keepdims=True), seen[t].sum(keepdims=True), false)
        rows.append(
            row("masks: control, the other target's thresholds", place, series, criterion=FALSE, at_least=REFUSAL)
        )
        contrast, count = arrays["contrastive_rank"][t], arrays["contrastive_predicted"][t]
        near = np.zeros_like(count, dtype=bool)
        errors = wrong(count, contrast, ~near)
        rows.append(row("masks: spectral contrastive twin", place, Series(count, contrast, errors), criterion=RATE))
    return rows


def bound_rows(name: str, seen: np.ndarray, bound: np.ndarray) -> list[Row]:
    """Return the rows of coupled modes, which the bound of 7.2 holds for."""
    rows: list[Row] = []
    for t, target in enumerate(TARGETS):
        place = f"linear, {name}, {target}-masked; rank is {np.nanmean(seen[t] / np.maximum(bound[t], 1)):.0%} of the bound in the mean"
        errors = np.where(np.isnan(seen[t]), np.nan, 2.0 * (seen[t] > bound[t]))
        rows.append(row("masks: bound on the rank", place, Series(bound[t], seen[t], errors), criterion=BOUND))
    return rows


def deep_rows(activation: str, target: Target, deep: np.ndarray) -> list[Row]:
    """Return the rows of deep encoders: the rank told by features before training, and after."""
    seen, start, end = deep
    rows: list[Row] = []
    for name, told in (("before training", start), ("after training", end)):
        place = f"{activation} {TOKENS}-32-{WIDTH}, ring of tokens, {target}-masked"
        miss = np.abs(seen - told).reshape(-1, seen.shape[-1]).mean(keepdims=True) / WIDTH / 0.15
        series = Series(np.atleast_2d(told.mean()), np.atleast_2d(seen.mean()), miss)
        rows.append(row(f"masks: rank by features {name}", place, series, criterion=NEAR))
    return rows
