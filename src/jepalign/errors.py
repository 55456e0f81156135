"""The one error that bad input raises, from whichever room it is noticed in."""


class InputError(ValueError):
    """An argument breaks a condition.

    Parameters
    ----------
    argument : str
        The name of the argument as the caller wrote it.
    value : object
        The offending value, or the part of it that offends (an eigenvalue, a shape), short enough for one line.
    condition : str
        What the argument must satisfy.

    The message is one line, ``argument = value: condition``; the command line prints it and exits with code 2.
    """

    def __init__(self, argument: str, value: object, condition: str) -> None:
        self.argument = argument
        self.value = value
        self.condition = condition
        super().__init__(f"{argument} = {value}: {condition}")

    def __reduce__(self) -> tuple[type["InputError"], tuple[str, object, str]]:
        # Exceptions pickle their message only; worker processes need all three parts back.
        return type(self), (self.argument, self.value, self.condition)
