"""What arguments of commands may be."""

from argparse import ArgumentTypeError


def seconds(text: str) -> float:
    """A time that passes; refuses 0 and less."""
    number = float(text)
    if not number > 0:
        raise ArgumentTypeError("must be more than 0 seconds")
    return number
