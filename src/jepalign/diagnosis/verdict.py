"""The verdict in one sentence: how many dimensions survive, why the others do not, and the least that would save them."""

import math

from jepalign.diagnosis.modes import ModeTable, State
from jepalign.diagnosis.outlook import Outlook
from jepalign.diagnosis.remedies import Remedies, Remedy
from jepalign.diagnosis.settings import FlowRates


def verdict(table: ModeTable, outlook: Outlook, remedies: Remedies, rates: FlowRates) -> str:
    """Return one sentence."""
    width = len(table.axes)
    head = f"{outlook.rank} of {width} dimensions"
    if rates.decay is None:
        return f"{head} are alive now; whether they stay cannot be told without the weight decay (--weight-decay)."
    reasons = _reasons(table, rates)
    alike = outlook.rank == outlook.static
    head += " survives" if outlook.rank == 1 else " survive"
    if not alike:
        # The flow has the last word, and single dimensions do not explain it.
        now = f"{outlook.now} {_is(outlook.now or 0)} alive now"
        head += f" by the measured flow, where {now} and {outlook.static} would survive if each were alone"
        reasons = _together(outlook)
    text = (
        head
        + ("" if rates.decay else ", as nothing decays")
        + (": " + (", " if alike else ", and ").join(reasons) if reasons else "")
    )
    if (best := gentlest(remedies)) is not None:
        count = len(remedies.endangered)
        whom = "the one" if count == 1 else f"the {count}"
        # What holds a dimension alone is not put to the flow.
        which = (
            "worth keeping"
            if alike
            else "that even alone would be lost, were each alone and its features what they are now"
        )
        text += f"; {best.name} uniformity of weight {best.as_trained:.2g} would keep {whom} {which}"
    return text + "."


def gentlest(remedies: Remedies) -> Remedy | None:
    """Return the remedy that moves the surviving dimensions least; without any, the first that is finite; None if there is none.

    A term that, as published, does not see the endangered dimensions in the embedding as it lies is left out.
    """
    finite = [each for each in remedies.terms if math.isfinite(each.weight) and each.sees]
    moved = {each.name: max(map(abs, each.cost)) for each in finite if math.isfinite(each.cost[0])}
    return min(finite, key=lambda each: moved.get(each.name, math.inf), default=None)


def _together(outlook: Outlook) -> list[str]:
    """Return why the flow tells another rank than dimensions taken alone."""
    found: list[str] = []
    if outlook.staying is None:
        return found
    if outlook.staying != outlook.static:
        found.append("they compete and turn")
    if outlook.rank < outlook.staying:
        found.append("decay shrinks their features in the layers below")
    elif outlook.rank > outlook.staying:
        found.append("the layers below strengthen their features")
    return found


def _reasons(table: ModeTable, rates: FlowRates) -> list[str]:
    found: list[str] = []
    lost, below, gone, unsettled = (
        len(table.counted(state)) for state in (State.LOST, State.BELOW, State.GONE, State.UNSETTLED)
    )
    if lost and not math.isfinite(rates.rest_rate):
        found.append(
            f"{lost} {'decays' if lost == 1 else 'decay'} because the encoder has a weight decay and the predictor none"
        )
    elif lost:
        found.append(f"{lost} {_is(lost)} beyond the threshold (η = {rates.decay:.3g} > η_c)")
    if below:
        found.append(f"{below} {_is(below)} inside the basin of collapse")
    if unsettled:
        found.append(f"{unsettled} {_is(unsettled)} smaller than any rest (s < η/α), growing or falling")
    if gone:
        found.append(f"{gone} {_is(gone)} gone already")
    return found


def _is(count: int) -> str:
    return "is" if count == 1 else "are"
