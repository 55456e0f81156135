"""Deep encoders against the predictions. Importing this package does not import torch; running an experiment does."""

import difflib
import importlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from jepalign.errors import InputError
from jepalign.measurements import Measurement


@dataclass(frozen=True)
class Experiment:
    """Where an experiment is found and what it asks.

    Attributes
    ----------
    entry : str
        "module:function"; the function takes ``device``, ``scale``, ``seed`` and ``progress`` by keyword.
    description : str
        One line.
    """

    entry: str
    description: str


EXPERIMENTS: Mapping[str, Experiment] = MappingProxyType(
    {
        "dictionary": Experiment(
            "jepalign.simulations.dictionary:dictionary",
            "Predictor P = g(Φ) without negatives against the explicit objective U_g: gradients, then whole trainings",
        ),
        "practice": Experiment(
            "jepalign.simulations.practice:practice",
            "How much of the dictionary survives mini-batches, a moving average, BYOL's form, an EMA target and InfoNCE",
        ),
        "conservation": Experiment(
            "jepalign.simulations.conservation:conservation",
            "Balance WWᵀ − PᵀP/α and Gram matrix WWᵀ over training against their exact discrete drift, step by step",
        ),
        "power": Experiment(
            "jepalign.simulations.implicit_power:power",
            "Implicit repulsive power tr(F_uWᵀ) against the alignment loss, for any predictor, along whole trainings",
        ),
        "wiener": Experiment(
            "jepalign.simulations.wiener:wiener",
            "The learnt predictor's spectrum against the correlations of the embedding, and the sign of its repulsion",
        ),
        "ablation": Experiment(
            "jepalign.simulations.ablation:ablation",
            "Predictor, stop-gradient and EMA in every combination: which collapse, where in the network, and how fast",
        ),
        "trajectories": Experiment(
            "jepalign.simulations.trajectories:trajectories",
            "Mode strengths over training against the closed forms, and the order in which modes are learnt",
        ),
        "escape": Experiment(
            "jepalign.simulations.escape:escape",
            "The time to leave a near-collapsed start: a JEPA's ~1/ε from balance, a contrastive loss's ~log 1/ε",
        ),
        "phase": Experiment(
            "jepalign.simulations.phase:phase",
            "Which embedding dimensions survive over weight decay, predictor rate and EMA rate, told ahead of time",
        ),
        "forecast": Experiment(
            "jepalign.simulations.forecast:forecast",
            "Collapse told at 2, 5 and 10% of a training, of unseen architectures, beside what is used without a theory",
        ),
        "hybrid": Experiment(
            "jepalign.simulations.hybrid:hybrid",
            "Which weight of an explicit uniformity repels collapse and rescues a mode, and where published weights stand",
        ),
        "lejepa": Experiment(
            "jepalign.simulations.lejepa:lejepa",
            "LeJEPA, SIGReg without predictor or stop-gradient: which modes leave collapse, and which share an embedding",
        ),
        "masks": Experiment(
            "jepalign.simulations.masks:masks",
            "Surviving rank over block length, mask ratio and weight decay, for both conventions of the target",
        ),
        "world-model": Experiment(
            "jepalign.simulations.world_model:world_model",
            "Latent world models of a turning system: surviving planes, rollouts, and what a contrastive twin loses",
        ),
        "subspace": Experiment(
            "jepalign.simulations.subspace:subspace",
            "What JEPA, spectral contrastive, InfoNCE, Barlow Twins and VICReg encoders learn from the same views",
        ),
        "gaussianity": Experiment(
            "jepalign.simulations.gaussianity:gaussianity",
            "InfoNCE against the spectral contrastive loss as embeddings leave Gaussianity and are normalised",
        ),
        "i-jepa": Experiment(
            "jepalign.simulations.i_jepa:i_jepa",
            "A vision transformer as I-JEPA and as C-JEPA: what it learns, and where the explicit term helps",
        ),
    }
)


def find(name: str) -> Experiment:
    """Return the experiment ``name``; raise ``InputError`` suggesting the nearest if there is none of that name."""
    if name not in EXPERIMENTS:
        near = difflib.get_close_matches(name.lower(), EXPERIMENTS, n=1, cutoff=0.0)[0]
        raise InputError("name", name, f"must be one of {', '.join(EXPERIMENTS)}; the nearest is {near}")
    return EXPERIMENTS[name]


def run(
    name: str,
    *,
    device: str = "cpu",
    scale: str = "quick",
    seed: int = 0,
    progress: Callable[[int, int, str], None] | None = None,
) -> Measurement:
    """Run the experiment ``name``.

    Parameters
    ----------
    name : str
        A key of ``EXPERIMENTS``.
    device : str
        "cpu" or "cuda".
    scale : str
        "quick" (seconds) or "paper" (the committed results).
    seed : int
        Seeds views, initial weights and the order of batches; the result is a function of it on one device.
    progress : callable, optional
        Called with (steps done, steps in all, message).

    Returns
    -------
    Measurement
        Arrays, rows with a verdict each, the criterion fixed before the run, and provenance.

    Raises
    ------
    InputError
        For an unknown name (the nearest is suggested), device or scale, a negative seed, an absent CUDA device, or if
        PyTorch is not installed.
    """
    found = find(name)
    if seed < 0:
        raise InputError("seed", seed, "must not be negative")
    if importlib.util.find_spec("torch") is None:
        raise InputError("name", name, "needs PyTorch, which is not installed: pip install 'jepalign[torch]'")
    module, function = found.entry.split(":")
    experiment = getattr(importlib.import_module(module), function)
    return experiment(device=device, scale=scale, seed=seed, progress=progress)
