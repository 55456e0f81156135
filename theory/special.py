"""Special functions as letters with rules: the Wright function and the two real branches of Lambert's W.

A proof uses nothing of them but the two rules given here: the derivative, and that each undoes its defining expression.
The second is applied only where the sign that selects the branch is evident to SymPy, so that it cannot be used on the
wrong one: starts are written e^y, e^y − 1 or −1 − e^y with a real y.
"""

from typing import Any

import sympy as sp


class WrightOmega(sp.Function):
    """ω(x) > 0 for real x: the solution of ω + ln ω = x, that is W₀(eˣ) [@corless2002]."""

    nargs = 1

    @classmethod
    def eval(cls, *args: Any) -> Any:
        """Apply ω(u + ln u) = u for positive u: the sum of eˣ and x with a real x is recognised."""
        (x,) = args
        for part in sp.Add.make_args(x):
            if part.is_positive and sp.expand(x - part - sp.log(part)) == 0:
                return part
        return None

    def fdiff(self, argindex: int = 1) -> Any:
        """Return ω' = ω/(1 + ω)."""
        return self / (1 + self)


class _Branch(sp.Function):
    """Shared by the inverses of u ↦ u eᵘ."""

    nargs = 1

    @staticmethod
    def covers(u: Any) -> bool:
        """Whether u evidently lies in the range of the branch."""
        raise NotImplementedError

    @classmethod
    def eval(cls, *args: Any) -> Any:
        """Apply W(u eᵘ) = u for u in the range."""
        (x,) = args
        for part in sp.Mul.make_args(x):
            if isinstance(part, sp.exp):
                u = part.exp
                if cls.covers(u) and sp.expand(sp.cancel(x / part) - u) == 0:
                    return u
        return None

    def fdiff(self, argindex: int = 1) -> Any:
        """Return W'(x) = W/(x (1 + W))."""
        return self / (self.args[0] * (1 + self))


class LambertUpper(_Branch):
    """W₀: the inverse of u ↦ u eᵘ on u > −1."""

    @staticmethod
    def covers(u: Any) -> bool:
        """Whether u + 1 is evidently positive."""
        return bool((u + 1).is_positive)


class LambertLower(_Branch):
    """W₋₁: the inverse of u ↦ u eᵘ on u < −1."""

    @staticmethod
    def covers(u: Any) -> bool:
        """Whether u + 1 is evidently negative."""
        return bool((u + 1).is_negative)
