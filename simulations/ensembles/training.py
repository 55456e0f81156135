"""Hundreds of small networks trained at once, each exactly as :class:`jepalign.simulations.training.JEPA` trains one."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import vmap

from jepalign.errors import InputError
from jepalign.linear_models.uniformity import SIGReg
from jepalign.simulations.encoders import linear_predictor
from jepalign.simulations.ensembles.explicit import explicit_uniformity, slicing_directions
from jepalign.simulations.ensembles.optimizers import Optimizer, State
from jepalign.simulations.ensembles.results import Ensemble, Record, Results, Snapshot
from jepalign.simulations.ensembles.settings import Members, Method, Predictor, check_dtype
from jepalign.simulations.ensembles.stacks import (
    Batches,
    last_name,
    least_squares_predictors,
    mapped,
    member_bytes,
    paired,
    spectral_predictors,
    stacked,
)
from jepalign.simulations.training import LOST, Progress, Status

CPU_MEMORY = 2.0**27  # bytes
Build = Callable[[int], nn.Module]
Prepare = Callable[[int, nn.Module, nn.Module | None], None]


def train_ensemble(
    members: Members,
    build: Build,
    batches: Batches,
    *,
    steps: int,
    method: Method | None = None,
    build_predictor: Build | None = None,
    prepare: Prepare | None = None,
    record: Record | None = None,
    record_steps: Sequence[int] = (),
    dtype: torch.dtype = torch.float64,
    device: torch.device | None = None,
    memory: float | None = None,
    progress: Progress | None = None,
) -> Ensemble:
    """Train every member of an ensemble by simultaneous steps of encoder, predictor and target.

    With a learnt linear or a least-squares predictor and plain gradient descent a member is what
    :class:`jepalign.simulations.training.JEPA` makes of the same network alone, to rounding. Members do not touch each
    other, and chunks only bound the memory: both leave the result as it is, to rounding.

    Parameters
    ----------
    members : Members
        Constants of the M networks.
    build : callable
        Seed → encoder, with a linear last layer without bias and no buffers (batch-norm: ``track_running_stats=False``).
    batches : callable
        ``batch_seed`` → at least ``steps`` pairs (x, y), each (n, d); called again for every chunk.
    steps : int
        T, how many steps to make.
    method : Method, optional
        What all share; by default a learnt predictor and plain gradient descent.
    build_predictor : callable, optional
        Seed → learnt predictor, (n, k) → (n, k); by default linear and random, of the encoder's seed plus one.
    prepare : callable, optional
        Called with (member, encoder, predictor or None) to change what was built, in place, before ``scale`` is applied.
    record : callable, optional
        :class:`Snapshot` → tensors with a first axis of length A; called without gradient.
    record_steps : sequence of int
        Before which steps to record, ascending; T is after the last.
    dtype : torch.dtype
        float32 or float64, of parameters and batches.
    device : torch.device, optional
        By default the CPU.
    memory : float, optional
        Bytes that one chunk of members may use, estimated from parameters and activations; by default 128 MiB on a CPU,
        where larger chunks are slower as caches hold less of them, and half of what is free on a CUDA device.
    progress : callable, optional
        Called with (member steps done, in all, message).

    Raises
    ------
    InputError
        If an encoder is not as above, members differ in architecture, there are fewer batches than steps, or another
        argument is out of its range.
    """
    check_dtype(dtype)
    method = Method() if method is None else method
    moments = list(record_steps)
    if steps < 0:
        raise InputError("steps", steps, "must not be negative")
    if moments != sorted(set(moments)) or any(not 0 <= moment <= steps for moment in moments):
        raise InputError("record_steps", moments, f"must ascend between 0 and {steps}, the number of steps")
    if not method.stop_gradient and members.ema_rate is not None:
        raise InputError("stop_gradient", False, "needs a target encoder that is the encoder itself, no ema_rate")
    trial = build(int(members.array("seed")[0]))
    last = last_name(trial)
    first = next(iter(batches(int(members.array("batch_seed")[0]))), None)
    if first is None and steps > 0:
        raise InputError("batches", 0, f"must yield at least {steps} batches")
    per_member = member_bytes(trial, first, dtype, method.slices if isinstance(method.explicit, SIGReg) else 0)
    if memory is None:
        memory = CPU_MEMORY
        if device is not None and device.type == "cuda":
            memory = torch.cuda.mem_get_info(device)[0] / 2
    if not memory > 0:
        raise InputError("memory", memory, "must be positive")
    size = int(max(1, min(len(members), memory // per_member)))
    total = steps * len(members)
    result = Results(len(members), steps, len(moments))
    shared = bool((members.array("batch_seed") == members.array("batch_seed")[0]).all())
    for start in range(0, len(members), size):
        index = np.arange(start, min(start + size, len(members)))
        chunk = _Chunk(members, index, build, build_predictor, prepare, method, last, dtype, device)
        for step, batch in enumerate(paired(batches, members.array("batch_seed")[index], steps, shared=shared)):
            if step in moments and record is not None:
                result.keep(record, chunk.snapshot(step), moments.index(step))
            if len(chunk.index) == 0:
                break
            x, y = (part.to(dtype=dtype, device=device) for part in batch)
            if not shared:
                local = torch.as_tensor(np.searchsorted(index, chunk.index), device=device)
                x, y = x[local], y[local]
            survivors, values = chunk.step(step, x, y, shared=shared)
            result.losses[survivors, step] = values
            result.steps[survivors] += 1
            if progress is not None:
                done = start * steps + (step + 1) * len(index)
                progress(done, total, f"{int((result.steps[: index[-1] + 1] < step + 1)[index].sum())} diverged")
        if steps in moments and record is not None:
            result.keep(record, chunk.snapshot(steps), moments.index(steps))
        chunk.finish()
        result.add(index, chunk.final)
    status = tuple(Status.FINISHED if made == steps else Status.DIVERGED for made in result.steps)
    return Ensemble(members, status, result.steps, result.losses, *result.states, result.records)


class _Chunk:
    """The members of one chunk in training; those that diverge leave the stacks with their last state written down."""

    def __init__(
        self,
        members: Members,
        index: np.ndarray,
        build: Build,
        build_predictor: Build | None,
        prepare: Prepare | None,
        method: Method,
        last: str,
        dtype: torch.dtype,
        device: torch.device | None,
    ) -> None:
        self.method, self.index, self.first, self.last = method, index, index, last
        encoders, predictors = [], []
        for member in index:
            encoder = build(int(members.array("seed")[member]))
            predictor = None
            if method.predictor == Predictor.LEARNT:
                seed = int(members.array("seed")[member])
                if build_predictor is None:
                    predictor = linear_predictor(len(encoder.get_parameter(last)), seed=seed + 1)
                else:
                    predictor = build_predictor(seed)
                predictors.append(predictor)
            if prepare is not None:
                prepare(int(member), encoder, predictor)
            with torch.no_grad():
                encoder.get_parameter(last).mul_(float(members.array("scale")[member]))
            encoders.append(encoder)
        self.network, self.encoder = stacked("build", encoders, dtype, device)
        self.learnt, self.predictor = (
            stacked("build_predictor", predictors, dtype, device) if predictors else (None, {})
        )
        self.target = {} if members.ema_rate is None else {name: value.clone() for name, value in self.encoder.items()}

        def constant(values: np.ndarray) -> Tensor:
            return torch.as_tensor(values[index], dtype=dtype, device=device)

        step, rate, decay = (members.array(name) for name in ("step", "predictor_rate", "weight_decay"))
        self.optimizers = (
            Optimizer(method, constant(step), constant(decay)),
            Optimizer(method, constant(rate * step), constant(decay / rate)),
        )
        self.strength = constant(members.array("explicit_strength"))
        self.follow = None if members.ema_rate is None else constant(step * members.array("ema_rate"))
        self.final: tuple[State, State, State] = tuple(  # pyright: ignore[reportAttributeAccessIssue]
            {name: value.cpu().clone() for name, value in state.items()} for state in self.states
        )

    @property
    def states(self) -> tuple[State, State, State]:
        return self.encoder, self.predictor, self.target

    def snapshot(self, step: int) -> Snapshot:
        weight = self.encoder[self.last]
        return Snapshot(step, self.index, self.encoder, self.predictor, self.target, weight, self.network)

    def step(self, step: int, x: Tensor, y: Tensor, *, shared: bool) -> tuple[np.ndarray, np.ndarray]:
        """Make one step; return the members that completed it and their losses."""
        leaves = [{name: v.detach().requires_grad_() for name, v in s.items()} for s in (self.encoder, self.predictor)]
        z = mapped(self.network, leaves[0], x, shared=shared)
        if self.method.stop_gradient:
            with torch.no_grad():
                target = mapped(self.network, self.target or self.encoder, y, shared=shared)
        else:
            target = mapped(self.network, leaves[0], y, shared=shared)
        value = self._loss(step, z, target, leaves[1])
        flat = [leaf for state in leaves for leaf in state.values()]
        # Members share no parameter: the gradient of the sum is every member's own.
        found = iter(torch.autograd.grad(value.sum(), flat, materialize_grads=True))
        with torch.no_grad():
            updated = [
                optimizer.updated(state, {name: next(found) for name in state})
                for optimizer, state in zip(self.optimizers, (self.encoder, self.predictor), strict=True)
            ]
            fine = value.isfinite()
            extremes = [x for state in updated for v in state.values() for x in torch.aminmax(v)]
            everyone = bool(fine.all() & (torch.stack(extremes).abs() <= LOST).all())
            if not everyone:
                for tensor in (*updated[0].values(), *updated[1].values()):
                    fine &= torch.linalg.vector_norm(tensor.flatten(1), math.inf, dim=1) <= LOST
                self._write(~fine)  # the state before this step
            self.encoder, self.predictor = updated
            if self.follow is not None:
                for name, mine in self.target.items():
                    mine.lerp_(self.encoder[name], self.follow.view(-1, *[1] * (mine.ndim - 1)))
            if not everyone:
                self._keep(fine)
            return self.index, value.detach()[fine].cpu().numpy()

    def _loss(self, step: int, z: Tensor, target: Tensor, predictor: State) -> Tensor:
        """Return the loss of every member, (A,)."""
        if self.learnt is not None:
            prediction = mapped(self.learnt, predictor, z, shared=False)
        elif self.method.predictor == Predictor.NONE:
            prediction = z
        else:
            with torch.no_grad():
                if self.method.entry is not None:
                    matrix = spectral_predictors(self.method.entry, z.detach())
                else:
                    matrix = least_squares_predictors(z.detach(), target)
            prediction = z @ matrix.mT
        if self.method.residual:
            value = -(z * (target - prediction).detach()).sum(2).mean(1)
        else:
            value = (prediction - target).square().sum(2).mean(1) / 2
        if (term := self.method.explicit) is not None:
            axes = slicing_directions(step, self.method.slices, z.shape[2], dtype=z.dtype, device=z.device)
            value = value + self.strength * vmap(lambda own: explicit_uniformity(own, term, axes))(z)
        return value

    def _keep(self, fine: Tensor) -> None:
        kept = fine.nonzero()[:, 0]
        self.index = self.index[kept.cpu().numpy()]
        self.encoder, self.predictor, self.target = (
            {name: value[kept] for name, value in state.items()} for state in self.states
        )
        for optimizer in self.optimizers:
            optimizer.only(kept)
        self.strength = self.strength[kept]
        self.follow = None if self.follow is None else self.follow[kept]

    def _write(self, chosen: Tensor) -> None:
        local = torch.as_tensor(np.searchsorted(self.first, self.index[chosen.cpu().numpy()]))
        for kept, state in zip(self.final, self.states, strict=True):
            for name, value in state.items():
                kept[name][local] = value[chosen].cpu()

    def finish(self) -> None:
        """Write down the states of the members that did not diverge."""
        if len(self.index):
            self._write(torch.ones(len(self.index), dtype=torch.bool, device=self.strength.device))
