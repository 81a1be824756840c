"""Chance that falls the same way on every machine."""

from collections.abc import Mapping, Sequence
from random import Random
from typing import TypeVar

T = TypeVar("T")


class Dice:
    """Chance of its own for each purpose, so that changing one part of the world leaves the others as they are.

    Built on `Random.random()` alone, the only method of which Python promises that it never changes.
    """

    def __init__(self, purpose: str) -> None:
        self._random = Random(f"Ivy's demo world: {purpose}").random  # noqa: S311 - it keeps no secrets

    def share(self) -> float:
        """A number from 0 up to, not including, 1."""
        return self._random()

    def falls(self, probability: float) -> bool:
        return self._random() < probability

    def between(self, least: int, most: int) -> int:
        """A whole number between the two, both included."""
        return least + int(self._random() * (most - least + 1))

    def about(self, number: float) -> int:
        """The number rounded up or down, so that many of them add up to their exact sum."""
        return int(number + self._random())

    def one_of(self, things: Sequence[T]) -> T:
        return things[int(self._random() * len(things))]

    def weighted(self, weights: Mapping[T, float]) -> T:
        """One of the keys, as often as its weight says."""
        left = self._random() * sum(weights.values())
        for thing, weight in weights.items():
            left -= weight
            if left < 0:
                return thing
        return next(iter(weights))  # floats may not add up in the last place

    def along(self, quantiles: Sequence[float]) -> int:
        """A whole number of a distribution that is given by its evenly spaced quantiles, the least value first."""
        place = self._random() * (len(quantiles) - 1)
        lower, upper = quantiles[int(place)], quantiles[int(place) + 1]
        return int(lower + (upper - lower) * (place - int(place)))
