"""What a runtime prepares for one size of image, and what holds much memory: kept for the few sizes that came last."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

SIZES_KEPT = 2  # tiles of one scan are of one size; now and then another comes between

Prepared = TypeVar("Prepared")


class FewSizes(Generic[Prepared]):
    """Not safe to ask from several threads at once."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[int, ...], Prepared] = OrderedDict()

    def of(self, shape: tuple[int, ...], prepare: Callable[[], Prepared]) -> Prepared:
        """What is prepared for this shape; the oldest is dropped before another is made, since both may not fit."""
        if shape not in self._kept:
            while len(self._kept) >= SIZES_KEPT:
                self._kept.popitem(last=False)
            self._kept[shape] = prepare()
        self._kept.move_to_end(shape)
        return self._kept[shape]
