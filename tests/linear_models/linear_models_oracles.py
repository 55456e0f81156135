"""Trajectories in high precision, by the time functions of their flows: nothing here shares a formula with the code under test."""

from typing import Any

import mpmath as mp
from linear_models_precision import follow


def balanced(t: Any, w: Any, cross: Any, variance: Any, rate: Any) -> Any:
    """Return w(t) of ẇ = √α λw² − ασw³ by partial fractions of 1/ẇ."""
    if w == 0 or t == 0:
        return w
    a, b = mp.sqrt(rate) * cross, rate * variance
    if a == 0:
        return w / mp.sqrt(1 + 2 * b * w**2 * t)
    rest = a / b
    spread = abs(mp.log10(abs(rest / w))) + abs(mp.log10(t * a * a / b)) / 2
    with mp.workdps(70 + 3 * int(spread)):
        # 1/(w²(a − bw)) = 1/(aw²) + b/(a²w) + b²/(a²(a − bw))
        def time_of(x: Any) -> Any:
            return -1 / (a * x) + b / a**2 * (mp.log(abs(x)) - mp.log(abs(a - b * x)))

        return follow(time_of, lambda x: x * x * (a - b * x), w, rest if w * rest > 0 else mp.mpf(0), t)


def decayed(t: Any, w: Any, cross: Any, variance: Any, rate: Any, decay: Any) -> Any:
    """Return w(t) by partial fractions of 1/ṗ, ṗ = −σp³ + λp² − ηp: three logarithms, or two and a pole, or an arctangent."""
    if w == 0 or t == 0:
        return w
    spread = sum(abs(mp.log10(abs(x))) for x in (w, variance, decay, rate, cross or mp.mpf(1)))
    discriminant = cross**2 - 4 * decay * variance
    if discriminant != 0 and cross != 0:
        spread += abs(mp.log10(abs(discriminant) / cross**2))
    with mp.workdps(80 + int(3 * spread + abs(mp.log10(decay * t)))):
        p = mp.sqrt(rate) * w
        limit = mp.mpf(0)
        middle = cross / (2 * variance)
        half = mp.sqrt(abs(discriminant)) / (2 * variance)
        if discriminant > 0:
            top = middle + (half if cross > 0 else -half)
            saddle = decay / variance / top

            def time_of(x: Any) -> Any:
                terms = mp.log(abs(x)) / (saddle * top) + mp.log(abs(x - top)) / (top * (top - saddle))
                return -(terms + mp.log(abs(x - saddle)) / (saddle * (saddle - top))) / variance

            if p in (saddle, top):
                return w
            limit = top if p / saddle > 1 else limit
        elif discriminant == 0:

            def time_of(x: Any) -> Any:
                if x == middle:
                    return mp.inf
                logs = (mp.log(abs(x)) - mp.log(abs(x - middle))) / middle**2
                return -(logs - 1 / (middle * (x - middle))) / variance

            if p == middle:
                return w
            limit = middle if p / middle > 1 else limit
        else:

            def time_of(x: Any) -> Any:
                logs = mp.log(abs(x)) - mp.log((x - middle) ** 2 + half**2) / 2
                return -(logs + middle / half * mp.atan((x - middle) / half)) / decay

        found = follow(time_of, lambda x: -x * (variance * x**2 - cross * x + decay), p, limit, t)
        return found / mp.sqrt(rate)


def unbalanced(t: Any, w: Any, p: Any, cross: Any, variance: Any, rate: Any) -> tuple[Any, Any]:
    """Return w(t), p(t) by partial fractions of 1/ṗ, ṗ = (p² − c)(λ − σp), with their three logarithms, or two and an arctangent."""
    if 0 in (w, t):
        return w, p
    spread = sum(abs(mp.log10(abs(x))) for x in (w, variance, rate, t, p or mp.mpf(1), cross or mp.mpf(1)))
    # An encoder that dies as e^{−rate · t} is left over from p² − c, in which as many digits cancel.
    largest = max(abs(p), mp.sqrt(rate) * abs(w), abs(cross / variance))
    spread += min(mp.mpf(200), variance * largest**2 * t)
    with mp.workdps(100 + int(3 * spread)):
        c, e = p**2 - rate * w**2, cross / variance
        k = mp.sqrt(abs(c))
        if p == e:
            return w, p
        if c < 0:
            limit = e

            def time_of(x: Any) -> Any:
                logs = mp.log(x**2 + k**2) / 2 - mp.log(abs(x - e))
                return (logs + e / k * mp.atan(x / k)) / ((e**2 - c) * variance)

        else:
            limit = max(e, k) if p > 0 else min(e, -k)

            def time_of(x: Any) -> Any:
                ends = mp.log(abs(x - k)) / (2 * k * (k - e)) + mp.log(abs(x + k)) / (2 * k * (k + e))
                return -(ends + mp.log(abs(x - e)) / ((e - k) * (e + k))) / variance

        x = follow(time_of, lambda x: (x**2 - c) * (cross - variance * x), p, limit, t)
        return mp.sign(w) * mp.sqrt(abs(x**2 - c) / rate), x


def contrastive(t: Any, w: Any, cross: Any, variance: Any) -> Any:
    """Return w(t) through the logistic square as it is printed, with digits to spare."""
    if w == 0:
        return w
    with mp.workdps(800):
        if cross == 0:
            return w / mp.sqrt(1 + 8 * variance**2 * w**2 * t)
        level = cross / variance**2
        exponent = -8 * cross * t
        if exponent < -20000 or exponent > 20000:
            return mp.sign(w) * (mp.sqrt(level) if cross > 0 else mp.mpf(0))
        return mp.sign(w) * mp.sqrt(level / (1 + (level / w**2 - 1) * mp.exp(exponent)))


def barlow(t: Any, w: Any, cross: Any) -> Any:
    """Return the same with σ² = λ²."""
    return contrastive(t, w, cross, abs(cross)) if cross else w


def deep(kind: str, depth: int) -> Any:
    """Return w(t) by the time function in u, a hypergeometric function, at high precision."""
    m, k = (2 * depth, 1) if kind == "deep_jepa" else (depth, depth + 1)

    def solve(t: Any, w: Any, cross: Any, variance: Any) -> Any:
        if w == 0 or t == 0:
            return w
        if cross == 0:
            return w / mp.sqrt(1 + 2 * depth * variance * w**2 * t)
        u = mp.root(w, depth)
        rest = mp.root(cross / variance, k) if cross > 0 else mp.mpf(0)
        spread = abs(mp.log10(w)) + abs(mp.log10(t)) + 10 * depth
        with mp.workdps(60 + 2 * int(spread)):

            def time_of(x: Any) -> Any:
                if kind == "deep_jepa":  # ∫ dx/(x^m (λ − σx)), by partial fractions
                    terms = [variance ** (m - 1 - n) / (n * cross ** (m - n) * x**n) for n in range(1, m)]
                    log = mp.log(x) - mp.log(abs(cross - variance * x))
                    return -mp.fsum(terms) + variance ** (m - 1) / cross**m * log
                b = mp.mpf(1 - m) / k
                return mp.re(x ** (1 - m) / ((1 - m) * cross) * mp.hyp2f1(1, b, b + 1, variance * x**k / cross))

            return follow(time_of, lambda x: x**m * (cross - variance * x**k), u, rest, t) ** depth

    return solve


def averaged(which: int) -> Any:
    """Return w (0) or v (1) as a sum of two exponentials, with digits to spare."""

    def solve(t: Any, w: Any, v: Any, cross: Any, variance: Any, lag: Any, decay: Any) -> Any:
        with mp.workdps(400):
            total = variance + decay
            root = mp.sqrt(mp.mpc((total - lag) ** 2 + 4 * lag * cross))
            if root == 0:
                root = mp.mpf(10) ** -150  # the limit, to 150 digits
            fast, slow = (total + lag + root) / 2, (total + lag - root) / 2
            start = (w, v)[which]
            velocity = (cross * v - total * w, lag * (w - v))[which]
            path = (velocity + fast * start) * mp.exp(-slow * t) - (velocity + slow * start) * mp.exp(-fast * t)
            return (path / root).real

    return solve
