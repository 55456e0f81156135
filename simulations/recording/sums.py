"""Sums over rows from which every moment of a window follows, in memory that does not grow with the rows."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed

Array = NDArray[np.float64]

# At most so many rows of a batch enter the uniformity estimate, whose cost grows with their square.
UNIFORMITY_ROWS = 1024
# Wang & Isola's t.
TEMPERATURE = 2.0

# Second moments E abᵀ by the name they are stored under, the rows of the matrix first.
PRODUCTS: Mapping[str, tuple[str, str]] = {
    "context_moment": ("context", "context"),
    "target_moment": ("target", "target"),
    "cross_moment": ("target", "context"),
    "prediction_moment": ("prediction", "prediction"),
    "prediction_context_moment": ("prediction", "context"),
    "features_context_moment": ("features_context", "features_context"),
    "features_target_moment": ("features_target", "features_target"),
    "features_cross_moment": ("features_target", "features_context"),
}


@dataclass(frozen=True)
class Rows:
    """Pairs of one batch, row by row.

    Attributes
    ----------
    streams : mapping of str to Tensor
        "context" and "target" (n, k); where known "prediction" (n, k), "features_context" and "features_target" (n, h).
    counted : Tensor of shape (n,), bool, or None
        Which rows count; None: all of them. What the others hold, NaN included, is of no account.
    image : Tensor of shape (n, k) or None
        Jz, the predictor's derivative at z applied to z; None where it is not known.
    """

    streams: Mapping[str, Tensor]
    counted: Tensor | None = None
    image: Tensor | None = None


@dataclass(frozen=True)
class Moments:
    """Means over the counted rows of a window.

    Attributes
    ----------
    count : int
        Number of rows.
    arrays : mapping of str to ndarray
        Means ``*_mean`` and second moments, not centred, under the names of ``PRODUCTS``.
    alignment, asymmetry : float
        ½E‖z − z̄‖² and ½(E‖z‖² − E‖z̄‖²).
    correction : float
        E⟨Jz, z̄ − ẑ⟩; NaN where J is not known.
    prediction_error : float
        ½E‖ẑ − z̄‖²; NaN without predictions.
    uniformity : float
        log E e^{−2‖u − u'‖²} over distinct rows u, u' of one batch on the unit sphere (Wang & Isola 2020); NaN if no
        batch had two rows.
    context_fourth : float
        E‖z − Ez‖⁴.
    """

    count: int
    arrays: Mapping[str, Array]
    alignment: float
    asymmetry: float
    correction: float
    prediction_error: float
    uniformity: float
    context_fourth: float

    @property
    def covariance(self) -> Array:
        """The centred covariance of the context embeddings, (k, k)."""
        mean = self.arrays["context_mean"]
        return self.arrays["context_moment"] - np.outer(mean, mean)


class Sums:
    """Running sums of one window.

    Rows are multiplied about the mean of the window's first batch, so that nothing cancels where means are large, and
    in ``precision``; sums are float64. They stay on the device of the rows, and nothing waits for it before
    :meth:`moments`.

    Parameters
    ----------
    precision : torch.dtype
        In which rows are multiplied.
    """

    def __init__(self, precision: torch.dtype = torch.float64) -> None:
        self.precision = precision
        self._origins: dict[str, Tensor] = {}
        self._sums: dict[str, Tensor] = {}

    @torch.no_grad()
    def add(self, rows: Rows) -> None:
        """Add the pairs of a batch; every batch of a window has the streams of the first."""
        context = rows.streams["context"]
        # An autocast region around the caller would round the products again.
        with torch.autocast(context.device.type, enabled=False):
            everyone = torch.ones(len(context), dtype=torch.bool, device=context.device)
            counted = everyone if rows.counted is None else rows.counted
            values = {name: self._clean(stream, counted) for name, stream in rows.streams.items()}
            if not self._origins:
                share = counted.sum().clamp(min=1)
                self._origins = {name: value.sum(0) / share for name, value in values.items()}
            self._add("count", counted.sum())
            self._add_products(values, counted)
            image = None if rows.image is None else self._clean(rows.image, counted)
            self._add_squares(values, image)
            self._add_uniformity(values["context"], counted)

    def moments(self, group: "distributed.ProcessGroup | None" = None) -> Moments:
        """Return the means so far; where processes train together, those over the rows of all of them (a collective)."""
        totals = self._about_zero()
        if distributed.is_available() and distributed.is_initialized() and distributed.get_world_size(group) > 1:
            totals = _over_processes(totals, group)
        found = {name: value.cpu().numpy().astype(np.float64) for name, value in totals.items()}
        count = float(found.pop("count"))
        with np.errstate(divide="ignore", invalid="ignore"):
            uniformity = float(np.log(found.pop("kernel") / found.pop("pairs")))
            means: dict[str, Array] = {name: value / count for name, value in found.items()}
        scalars = {
            name: float(means.pop(name, np.nan))
            for name in ("alignment", "asymmetry", "correction", "prediction_error")
        }
        cubic, fourth = means.pop("cubic"), float(means.pop("fourth"))
        mean, moment = means["context_mean"], means["context_moment"]
        return Moments(
            count=round(count),
            arrays=means,
            uniformity=uniformity,
            context_fourth=_fourth_about(mean, mean, moment, cubic, fourth),
            **scalars,
        )

    def _clean(self, stream: Tensor, counted: Tensor) -> Tensor:
        """Return the rows in the precision of the products, with zeros for those that do not count."""
        return torch.where(counted[:, None], stream.detach().to(self.precision), 0)

    def _add(self, name: str, value: Tensor) -> None:
        value = value.to(torch.float64)
        self._sums[name] = self._sums[name] + value if name in self._sums else value

    def _add_products(self, values: Mapping[str, Tensor], counted: Tensor) -> None:
        moved = {name: torch.where(counted[:, None], value - self._origins[name], 0) for name, value in values.items()}
        for name, value in moved.items():
            self._add(f"{name}_mean", value.sum(0))
        for name, (left, right) in PRODUCTS.items():
            if left in moved and right in moved:
                self._add(name, moved[left].T @ moved[right])
        lengths = moved["context"].square().sum(1)
        self._add("cubic", lengths @ moved["context"])
        self._add("fourth", lengths.square().sum())

    def _add_squares(self, values: Mapping[str, Tensor], image: Tensor | None) -> None:
        """Add what is a difference of nearly equal numbers in terms of moments, and is none in terms of rows."""
        context, target = values["context"], values["target"]
        self._add("alignment", (context - target).square().sum() / 2)
        self._add("asymmetry", ((context - target) * (context + target)).sum() / 2)
        if "prediction" in values:
            self._add("prediction_error", (values["prediction"] - target).square().sum() / 2)
        if image is not None:
            self._add("correction", (image * (target - values.get("prediction", context))).sum())

    def _add_uniformity(self, context: Tensor, counted: Tensor) -> None:
        stride = -(-len(context) // UNIFORMITY_ROWS)
        z, kept = context[::stride], counted[::stride].to(self.precision)
        unit = z / z.norm(dim=1, keepdim=True).clamp(min=torch.finfo(self.precision).tiny)
        lengths = unit.square().sum(1)
        squares = (lengths[:, None] + lengths - 2 * unit @ unit.T).clamp(min=0)
        kernel = torch.exp(-TEMPERATURE * squares) * kept[:, None] * kept
        self._add("kernel", kernel.fill_diagonal_(0).sum())
        self._add("pairs", kept.sum() * (kept.sum() - 1))

    def _about_zero(self) -> dict[str, Tensor]:
        """Return the sums as they would be with the origins at 0: only so may sums of several processes be added."""
        origins = {name: origin.to(torch.float64) for name, origin in self._origins.items()}
        found, count = dict(self._sums), self._sums["count"]
        for name, (left, right) in PRODUCTS.items():
            if name in found:
                a, b = origins[left], origins[right]
                first, second = self._sums[f"{left}_mean"], self._sums[f"{right}_mean"]
                found[name] = found[name] + torch.outer(a, second) + torch.outer(first, b) + count * torch.outer(a, b)
        for name, origin in origins.items():
            found[f"{name}_mean"] = found[f"{name}_mean"] + count * origin
        # ‖u + a‖²(u + a) and ‖u + a‖⁴, expanded.
        a, total = origins["context"], self._sums["context_mean"]
        moment, cubic = self._sums["context_moment"], self._sums["cubic"]
        square, along, length = moment.trace(), a @ total, a @ a
        found["cubic"] = cubic + 2 * moment @ a + length * total + (square + 2 * along + count * length) * a
        found["fourth"] = (
            found["fourth"] + 4 * a @ cubic + 4 * a @ moment @ a + 2 * length * square + 4 * length * along
            + count * length * length
        )  # fmt: skip
        return found


def _over_processes(totals: Mapping[str, Tensor], group: "distributed.ProcessGroup | None") -> dict[str, Tensor]:
    """Return sums over all processes, in one collective."""
    flat = torch.cat([value.reshape(-1) for value in totals.values()])
    distributed.all_reduce(flat, group=group)
    parts = flat.split([value.numel() for value in totals.values()])
    return {name: part.reshape(value.shape) for (name, value), part in zip(totals.items(), parts, strict=True)}


def _fourth_about(point: Array, mean: Array, moment: Array, cubic: Array, fourth: float) -> float:
    """Return E‖z − a‖⁴ at a ``point`` from E z, E zzᵀ, E‖z‖²z and E‖z‖⁴."""
    length, along, square = float(point @ point), float(point @ mean), float(np.trace(moment))
    return (
        fourth - 4 * float(point @ cubic) + 4 * float(point @ moment @ point) + 2 * length * square
        - 4 * length * along + length * length
    )  # fmt: skip
