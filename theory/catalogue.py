"""The list of all results. Everything that enumerates them walks this list.

It is a table of contents: which module of which chapter proves what. A module is imported when one of its results is asked
for, so that a single result costs a fraction of the whole.
"""

import difflib
from collections.abc import Iterable
from functools import cache
from importlib import import_module

from jepalign.errors import InputError
from jepalign.theory.proof import Theorem

CONTENTS: dict[str, tuple[str, ...]] = {
    "contrastive.duality": (
        "duality",
        "spectral-split",
    ),
    "contrastive.diagonals": ("duality-off-diagonal",),
    "contrastive.infonce": ("gaussian-infonce",),
    "contrastive.euclidean": ("euclidean-infonce",),
    "contrastive.uniformity": ("gaussian-uniformity",),
    "contrastive.minimum": ("spectral-minimum",),
    "contrastive.eigenproblem": ("one-eigenproblem",),
    "contrastive.decorrelation": (
        "barlow-twins-selects-nothing",
        "vicreg-optimum",
    ),
    "contrastive.decayed": ("jepa-leaves-eigenproblem",),
    "implicit_uniformity.dictionary": (
        "trace-derivative",
        "dictionary",
    ),
    "implicit_uniformity.entries": (
        "spectral-contrastive-entry",
        "gaussian-infonce-entry",
        "log-det-entry",
        "directpred-entry",
        "no-predictor-entry",
    ),
    "implicit_uniformity.further": ("sigreg-entry", "cosine-entry"),
    "implicit_uniformity.slices": ("sigreg-slices",),
    "implicit_uniformity.cosine": ("cosine-constraint",),
    "implicit_uniformity.learnt": (
        "learnt-predictor-entry",
        "preconditioned-origin",
    ),
    "implicit_uniformity.force": (
        "force-split",
        "sign",
    ),
    "implicit_uniformity.negatives": (
        "repulsion-equivalence",
        "repulsion-sandwich",
    ),
    "implicit_uniformity.power": (
        "power-identity-any-predictor",
        "power-identity",
        "decayed-power",
        "stop-gradient-repulsion",
    ),
    "implicit_uniformity.coefficient": ("effective-coefficient",),
    "implicit_uniformity.potential": (
        "no-potential",
        "no-euclidean-potential",
        "schatten-potential",
    ),
    "implicit_uniformity.target": (
        "ema-friction",
        "ema-metric",
    ),
    "implicit_uniformity.decay": ("decay-potential",),
    "implicit_uniformity.lyapunov": ("symmetric-predictor-lyapunov",),
    "implicit_uniformity.captured": ("captured-correlation",),
    "conservation.balance": (
        "balance",
        "gram-conservation",
        "exact-discrete-drift",
    ),
    "conservation.biased": ("balance-with-bias",),
    "conservation.initial": ("zero-init-predictor",),
    "conservation.leak": ("leaky-stop-gradient",),
    "conservation.optimisers": (
        "momentum-drift",
        "adam-drift",
    ),
    "collapse.ablation": (
        "no-stop-gradient-collapses",
        "ablation-cube",
        "trained-target",
    ),
    "collapse.ema": (
        "ema-lyapunov",
        "ema-alone-collapses",
        "ema-only-delays",
    ),
    "collapse.threshold": (
        "collapse-threshold",
        "total-collapse",
        "matrix-threshold",
    ),
    "collapse.at_rest": (
        "variance-at-rest",
        "embeddings-alone",
    ),
    "collapse.off_balance": ("off-balance-basin",),
    "collapse.off_balance_target": ("off-balance-target",),
    "collapse.decayed_descent": ("decayed-mode-descends",),
    "collapse.decayed_target": ("decayed-target-descends",),
    "collapse.ema_basin": (
        "ema-stability",
        "ema-basin",
    ),
    "collapse.escape": (
        "origin-conditional",
        "escape-time",
    ),
    "collapse.hybrids": (
        "hybrid-balance",
        "hybrid-equilibria",
    ),
    "collapse.hybrid_stability": (
        "hybrid-stability",
        "hybrid-comes-to-rest",
    ),
    "collapse.hybrid_thresholds": (
        "repel-threshold",
        "hybrid-bifurcation",
    ),
    "collapse.hybrid_rescue": ("rescue-threshold",),
    "collapse.hybrid_terms": (
        "spectral-hybrid",
        "log-det-hybrid",
    ),
    "collapse.hybrid_hinge": (
        "vicreg-hinge-hybrid",
        "c-jepa-weights",
    ),
    "collapse.hybrid_sigreg": ("sigreg-hybrid",),
    "collapse.reach": (
        "decay-a-start-bears",
        "holding-weight",
    ),
    "collapse.lejepa": ("lejepa-threshold",),
    "collapse.blindness": (
        "sign-blindness",
        "phase-blindness",
    ),
    "collapse.gauge": ("mean-gauge",),
    "collapse.mean": ("mean-without-predictor-bias",),
    "trajectories.modes": ("aligned-modes",),
    "trajectories.balanced": (
        "balanced-trajectory",
        "balanced-trajectory-above",
    ),
    "trajectories.decayed": ("decayed-trajectory", "unbalanced-trajectory"),
    "trajectories.layers": ("deep-layers",),
    "trajectories.depth": ("deep-trajectory", "learning-order"),
    "trajectories.autoencoder": ("autoencoder-trajectory", "critical-times-apart"),
    "trajectories.logistic": ("barlow-trajectory", "spectral-contrastive-trajectory"),
    "trajectories.riccati": ("spectral-contrastive-riccati",),
    "trajectories.linear_flow": ("ema-without-predictor",),
    "trajectories.stiefel": ("stiefel-flow",),
    "trajectories.oja": ("oja-flow",),
    "trajectories.double_bracket": (
        "double-bracket",
        "double-bracket-two-eigenvalues",
    ),
    "trajectories.hyperplane": ("double-bracket-hyperplane",),
    "trajectories.spectral_predictor": (
        "set-predictor-clock",
        "isoloss-logistic",
        "directcopy-lambert",
    ),
    "guarantees.competition": (
        "direction-competition",
        "same-subspace",
    ),
    "guarantees.signature": (
        "conserved-signature",
        "signature-law",
    ),
    "guarantees.probe": ("linear-probe-risk",),
    "guarantees.robustness": ("sin-theta",),
    "masking.hadamard": ("mask-moments",),
    "masking.conventions": (
        "output-masked",
        "input-masked",
    ),
    "masking.symmetry": (
        "mask-symmetry",
        "mask-conventions",
    ),
    "masking.spectrum": ("masked-spectrum-iid",),
    "masking.correlation": ("masked-correlation",),
    "masking.blocks": (
        "masked-block-exchangeable",
        "masked-blocks",
    ),
    "masking.line": (
        "masked-line",
        "masked-long-sequence",
    ),
    "masking.exchangeability": (
        "regression-above-one",
        "spectral-two-covariances",
    ),
    "masking.nonsymmetric": (
        "non-exchangeable",
        "power-without-symmetry",
    ),
    "masking.world_model": (
        "world-model-balance",
        "world-model-modes",
    ),
    "masking.rotation": ("rotation-modes",),
    "masking.rollout": ("rollout-error",),
    "beliefs.averaging": (
        "ema-supplies-uniformity",
        "ema-is-inadequate",
    ),
    "beliefs.features": (
        "stop-gradient-prevents-collapse",
        "jepa-minimises-a-loss",
        "same-features",
    ),
    "beliefs.masks": ("masking-is-contrastive",),
}
"""Modules under ``jepalign.theory`` in the order of the chapters, each with the names of its results."""

NAMES: tuple[str, ...] = tuple(name for names in CONTENTS.values() for name in names)
"""The names of all results, in order."""


@cache
def _module(path: str) -> dict[str, Theorem]:
    return {theorem.name: theorem for theorem in import_module(f"jepalign.theory.{path}").THEOREMS}


def find(name: str) -> Theorem:
    """Return the result of that name. Raises ``InputError`` for an unknown one, naming the nearest."""
    for path, names in CONTENTS.items():
        if name in names:
            return _module(path)[name]
    near = difflib.get_close_matches(name, NAMES, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}?" if near else f"the results are {', '.join(NAMES)}"
    raise InputError("name", name, f"is not a result; {hint}")


def select(names: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the given names in the order of the catalogue, all of them if none is given. Raises ``InputError`` as ``find``."""
    wanted = {find(name).name for name in names}
    return tuple(name for name in NAMES if name in wanted) if wanted else NAMES
