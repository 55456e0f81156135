"""I-JEPA and C-JEPA on images: what a vision transformer learns, and whether the explicit term helps where it must, and only there.

The transformer of I-JEPA is trained with a weak and a strong weight decay, without and with C-JEPA's VICReg term at its published
weights. From its last layer at half of the training the theory says how many dimensions decay will have taken at the end (4.3) and how
many of them the explicit term gives back (4.6): it must help where many are lost, and nowhere else.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from jepalign.datasets import digits
from jepalign.datasets.fashion_mnist import fashion_mnist
from jepalign.errors import InputError
from jepalign.measurements import Measurement
from jepalign.simulations.encoders import VisionTransformer
from jepalign.simulations.i_jepa_moments import (
    EPSILON,
    VARIANCE,
    Modes,
    flow_decay,
    implicit_power,
    kept_dimensions,
    last_layer_modes,
    participation,
    survivors,
)
from jepalign.simulations.i_jepa_rows import CRITERIA, i_jepa_rows
from jepalign.simulations.masked_images import Architecture, Moment, Schedule, embed, train_masked
from jepalign.simulations.results import check_scale, measured, numpy, stated
from jepalign.simulations.training import Progress, device_named

# C-JEPA's published β_vicreg (Mo & Tong 2024, appendix C).
# The noise under which embeddings are also read, in units of their standard deviation at the start.
NOISE = 0.1
OBJECTIVES = {"I-JEPA": 0.0, "C-JEPA": 0.001}


@dataclass(frozen=True)
class ImagePlan:
    """One scale.

    Attributes
    ----------
    data : {"digits", "Fashion-MNIST"}
        The images.
    architecture : Architecture
        Sizes of encoder and predictor.
    schedule : Schedule
        Of I-JEPA with the weak weight decay.
    decays : tuple of float
        The weak and the strong weight decay.
    seeds : int
        Of weights, masks and batches.
    train, test : int
        Images to train the encoder on, and to test the linear probe on.
    probed : int
        Of the images to train on, those that the linear probe is fitted to.
    note : str
        What was cut, in words.
    records : int
        An odd number, the middle one at half of the training.
    """

    data: str
    architecture: Architecture
    schedule: Schedule
    decays: tuple[float, float]
    seeds: int
    train: int
    test: int
    probed: int
    note: str
    records: int = 9


SCALES = {
    "quick": ImagePlan(
        "digits",
        Architecture(side=8, patch=2, width=16, depth=1, heads=2, predictor_width=8, predictor_depth=1),
        Schedule(steps=40, batch=32, learning_rate=3e-3, momentum=0.95),
        decays=(0.05, 40.0),
        seeds=2,
        train=1200,
        test=597,
        probed=1200,
        note="a check, far too short to learn",
        records=5,
    ),
    "paper": ImagePlan(
        "Fashion-MNIST",
        Architecture(side=28, patch=7, width=64, depth=2, heads=4, predictor_width=32, predictor_depth=1),
        Schedule(steps=800, batch=64, learning_rate=1e-3, momentum=0.98),
        decays=(0.05, 16.0),
        seeds=3,
        train=60000,
        test=10000,
        probed=10000,
        note="cut for a CPU: patches of 7, 800 steps of 64 images, momentum from 0.98",
    ),
}
# What the paper scale is where there is a GPU: the transformer at full size.
FULL = ImagePlan(
    "Fashion-MNIST",
    Architecture(),
    Schedule(steps=10000, batch=256, learning_rate=1e-3, momentum=0.996),
    decays=(0.05, 4.0),
    seeds=3,
    train=60000,
    test=10000,
    probed=60000,
    note="full size",
)


@dataclass(frozen=True)
class Images:
    """Standardised images, (n, side²) and (m, side²), and what they show."""

    train: Tensor
    labels: np.ndarray
    test: Tensor
    test_labels: np.ndarray


def load_images(plan: ImagePlan, device: torch.device) -> Images:
    """Return the images of a plan with mean 0 and variance 1 over all training pixels, padded with the darkest grey to its side."""
    if plan.data == "digits":
        found = digits()
        parts = [found.images[: plan.train], found.images[plan.train : plan.train + plan.test]]
        labels = [found.labels[: plan.train], found.labels[plan.train : plan.train + plan.test]]
    else:
        found = [fashion_mnist(part) for part in ("train", "test")]
        parts = [part.images[:count] for part, count in zip(found, (plan.train, plan.test), strict=True)]
        labels = [part.labels[:count] for part, count in zip(found, (plan.train, plan.test), strict=True)]
    side = round(parts[0].shape[1] ** 0.5)
    border, rest = divmod(plan.architecture.side - side, 2)
    if border < 0 or rest:
        raise InputError("side", plan.architecture.side, f"must be {side} and an even number of pixels more")
    mean, deviation = parts[0].mean(), parts[0].std()
    tensors = []
    for part in parts:
        square = torch.as_tensor((part - mean) / deviation, dtype=torch.float32).reshape(-1, side, side)
        padded = torch.nn.functional.pad(square, (border,) * 4, value=float(-mean / deviation))
        tensors.append(padded.flatten(1).to(device))
    return Images(tensors[0], labels[0], tensors[1], labels[1])


def probe_accuracy(fit: np.ndarray, labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray) -> float:
    """Return the accuracy of ridge regression to the classes, on columns standardised and penalised by a thousandth of their variance."""
    mean, deviation = fit.mean(0), fit.std(0)
    # A dimension that is constant to rounding tells nothing; scaled up it would be noise.
    used = deviation > 1e-6 * deviation.max()
    a, b = ((part[:, used] - mean[used]) / deviation[used] for part in (fit, test))
    classes = np.arange(labels.max() + 1)
    wanted = (labels[:, None] == classes).astype(np.float64)
    share = wanted.mean(0)
    weights = np.linalg.solve(a.T @ a + 1e-3 * len(a) * np.eye(a.shape[1]), a.T @ (wanted - share))
    return float(((b @ weights + share).argmax(1) == test_labels).mean())


def embeddings(encoder: VisionTransformer, images: Images, probed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return embeddings averaged over the patches of whole images, of the first ``probed`` to train on and of those to test on."""
    parts = images.train[:probed], images.test
    fit, test = (numpy(embed(encoder, part)).astype(np.float64) for part in parts)
    return fit, test


def noisy_accuracy(
    fit: np.ndarray, labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray, deviation: float
) -> float:
    """Return the accuracy of the same probe on embeddings read with Gaussian noise: unlike it, this sees whether their scale is lost."""
    generator = np.random.default_rng(0)
    parts = (part + deviation * generator.standard_normal(part.shape) for part in (fit, test))
    fit, test = parts
    return probe_accuracy(fit, labels, test, test_labels)


def baselines(images: Images, plan: ImagePlan, seed: int) -> dict[str, np.ndarray]:
    """Return probe accuracies of raw pixels, of as many of their principal components as the encoder is wide, of random encoders (S,)."""
    a, probed = plan.architecture, plan.probed
    fit, test = (numpy(part).astype(np.float64) for part in (images.train[:probed], images.test))
    centred = fit - fit.mean(0)
    leading = np.linalg.eigh(centred.T @ centred)[1][:, -a.width :]
    labels = images.labels[:probed]
    untrained = [
        VisionTransformer(a.side, a.patch, a.width, a.depth, a.heads, seed=seed + 10 * index).to(images.train.device)
        for index in range(plan.seeds)
    ]

    def read(encoder: VisionTransformer) -> float:
        first, second = embeddings(encoder, images, probed)
        return probe_accuracy(first, labels, second, images.test_labels)

    return {
        "pixels": np.array(probe_accuracy(fit, labels, test, images.test_labels)),
        "principal": np.array(probe_accuracy(fit @ leading, labels, test @ leading, images.test_labels)),
        "random": np.array([read(encoder) for encoder in untrained]),
    }


def image_run(
    images: Images, plan: ImagePlan, schedule: Schedule, *, seed: int, progress: Callable[[int, int, str], None] | None
) -> dict[str, np.ndarray]:
    """Train one encoder and return its arrays of :func:`i_jepa`; NaN after a divergence."""
    a = plan.architecture
    series: dict[str, list[float]] = {}
    modes: list[Modes] = []
    first: list[np.ndarray] = []
    last: list[np.ndarray] = []
    sample = images.train[: min(1024, len(images.train))]

    def look(moment: Moment) -> None:
        if not first:
            first.append(numpy(moment.encoder.last.weight).copy())
        last[:] = [numpy(moment.encoder.last.weight).copy()]
        modes.append(last_layer_modes(moment, sample, seed=seed + 3))
        for key, value in {**implicit_power(moment), "scale": moment.scale}.items():
            series.setdefault(key, []).append(value)

    run = train_masked(images.train, a, schedule, seed=seed, records=plan.records, look=look, progress=progress)
    # The last record is one update before the end, at a hundredth of the learning rate.
    fine = len(modes) == plan.records and run.status == "finished"
    found = {key: _padded(np.array(values), plan.records) for key, values in series.items()}
    found |= {f"training_{key}".replace(" ", "_"): _padded(values, plan.records) for key, values in run.records.items()}
    for key in ("cross", "variance", "centred"):
        found[f"mode_{key}"] = _padded(np.array([getattr(entry, key) for entry in modes]), plan.records)
    eta = np.array([flow_decay(schedule.weight_decay, scale, a.width) for scale in series["scale"]])
    # Told for both objectives: what the explicit term would give back can be asked of the run without it.
    for objective, weight in OBJECTIVES.items():
        alive = [
            survivors(entry, decay, schedule.retained, explicit=VARIANCE * weight)
            for entry, decay in zip(modes, eta, strict=True)
        ]
        # Before the first update there is no η of the flow.
        found[f"predicted_{objective[0]}"] = _padded(np.where(np.isnan(eta), np.nan, alive), plan.records)
    # The hinge as it is held where modes share coordinates: by the variance that these have.
    held = [
        survivors(entry, decay, schedule.retained, explicit=VARIANCE * schedule.vicreg, floor=variance + EPSILON)
        for entry, decay, variance in zip(modes, eta, run.records["variance"], strict=True)
    ]
    found["predicted_held"] = _padded(np.where(np.isnan(eta), np.nan, held), plan.records)
    found["flow_decay"] = _padded(eta, plan.records)
    found["kept"] = np.array(float(kept_dimensions(last[0], first[0])) if fine else np.nan)
    found["singular"] = np.linalg.svd(last[0], compute_uv=False) if fine else np.full(a.width, np.nan)
    found["singular_start"] = np.linalg.svd(first[0], compute_uv=False)
    worth = _worth(run.encoder, images, plan, seed) if fine else (np.nan,) * 3
    for key, value in zip(("accuracy", "noisy_accuracy", "participation"), worth, strict=True):
        found[key] = np.array(value)
    found["diverged"] = np.array(float(not fine))
    return found


def i_jepa(
    *, device: str = "cpu", scale: str = "quick", seed: int = 0, progress: Progress | None = None
) -> Measurement:
    """Measure I-JEPA and C-JEPA on images against a random encoder, raw pixels and what the theory says of their last layers.

    The paper scale needs Fashion-MNIST; on a CPU it is cut down, on CUDA it has the transformer at full size. The quick scale is on digits.
    Targets pass a layer norm in a variant, with the weak decay only: there the theory is tested outside of what it supposes.

    Returns
    -------
    Measurement
        With Q runs, R records, width h and S seeds. (Q,): ``objective``, ``weight_decay``, ``layer_norm`` (of targets), ``seed``,
        ``accuracy`` of the linear probe, ``noisy_accuracy`` of one that reads with noise, ``participation`` of coordinates in the first
        principal direction, ``kept`` dimensions of the last layer, ``diverged``. (R,): ``step``. (Q, R): ``observed``, ``predicted``,
        ``alignment``, ``correction``, ``asymmetry`` and ``size`` of the implicit power; ``scale`` of the last layer's gradients;
        ``flow_decay``; surviving dimensions ``predicted_I`` and ``predicted_C``, without and with the explicit term, and
        ``predicted_held``, with the hinge as measured variances hold it; ``training_...`` (loss, alignment, uniformity, effective_rank,
        variance, power). (Q, R, h): ``mode_cross``, ``mode_variance``, ``mode_centred``. (Q, h): ``singular`` values of the last layer
        at the end, and ``singular_start``. Accuracies ``pixels``, ``principal`` and ``random`` (S,).

    Raises
    ------
    InputError
        For an unknown scale or device, if CUDA is asked for and absent, or if Fashion-MNIST is needed and absent.
    """
    where = device_named(device)
    check_scale(scale, SCALES)
    plan = FULL if scale == "paper" and where.type == "cuda" else SCALES[scale]
    images = load_images(plan, where)
    cases = [
        (objective, decay, layer_norm, index)
        for layer_norm, decay in [*((False, decay) for decay in plan.decays), (True, min(plan.decays))]
        for objective in OBJECTIVES
        for index in range(plan.seeds)
    ]
    steps = plan.schedule.steps
    found: list[dict[str, np.ndarray]] = []
    for done, (objective, decay, layer_norm, index) in enumerate(cases):
        schedule = Schedule(
            steps,
            plan.schedule.batch,
            plan.schedule.learning_rate,
            decay,
            plan.schedule.momentum,
            OBJECTIVES[objective],
            layer_norm,
        )
        label = f"{objective}, weight decay {decay:g}" + (", targets normalised" if layer_norm else "")

        def tell(
            step: int, _total: int, _message: str, label: str = label, before: int = done * plan.schedule.steps
        ) -> None:
            if progress is not None:
                progress(before + step, steps * len(cases), label)

        found.append(image_run(images, plan, schedule, seed=seed + 10 * index, progress=tell))
    arrays = {key: np.array([run[key] for run in found]) for key in found[0]}
    arrays["step"] = np.unique(np.linspace(0, steps - 1, plan.records).round().astype(int))
    for key, values in zip(("objective", "weight_decay", "layer_norm", "seed"), zip(*cases, strict=True), strict=True):
        arrays[key] = np.array(values, dtype=int if key in ("layer_norm", "seed") else None)
    arrays |= baselines(images, plan, seed)
    a = plan.architecture
    name = f"ViT {a.side}x{a.side}/{a.patch}, {a.width} wide, {a.depth} layers on {plan.data} ({plan.note})"
    rows = i_jepa_rows(name, arrays)
    # Single precision is what trained them; the identity alone is told in double.
    exact = ("observed", "predicted", "alignment", "correction", "asymmetry")
    kept = {
        key: values.astype(np.float32) if values.dtype == np.float64 and key not in exact else values
        for key, values in arrays.items()
    }
    return measured("i-jepa", kept, rows, stated(CRITERIA), device=where, scale=scale, seed=seed)


def _worth(encoder: VisionTransformer, images: Images, plan: ImagePlan, seed: int) -> tuple[float, float, float]:
    """Return the probe's accuracy, that under noise, and how many coordinates share the first principal direction."""
    a, labels = plan.architecture, images.labels[: plan.probed]
    fresh = VisionTransformer(a.side, a.patch, a.width, a.depth, a.heads, seed=seed).to(images.train.device)
    deviation = NOISE * float(np.sqrt(numpy(embed(fresh, images.test)).var(0).mean()))
    fit, test = embeddings(encoder, images, plan.probed)
    return (
        probe_accuracy(fit, labels, test, images.test_labels),
        noisy_accuracy(fit, labels, test, images.test_labels, deviation),
        participation(test),
    )


def _padded(values: np.ndarray, records: int) -> np.ndarray:
    """Return records with NaN for those that a diverged run has not, (R, ...)."""
    found = np.full((records, *values.shape[1:]), np.nan)
    found[: len(values)] = values
    return found
