"""Build a network whose weights come from elsewhere without drawing initial ones: 31 million take longer than a start."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch.overrides import TorchFunctionMode


class Undrawn(TorchFunctionMode):
    """Within this block, the functions of `torch.nn.init` leave what they are given as it is: memory without values.

    (torch's own way, its "meta" device, imports a compiler first: two seconds.)
    """

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        if getattr(function, "__module__", "") == "torch.nn.init":
            return given["tensor"] if "tensor" in given else args[0]
        return function(*args, **given)
