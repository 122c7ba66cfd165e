"""Several U-Nets of one design that answer together, as one network. Needs torch alone.

Their probabilities are averaged; what comes out are scores again, so whatever decides by scores stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from ..errors import UserError
from .catalogue import build_network
from .decide import Head
from .mean_scores import mean_scores
from .tiling import SizedNetwork

MOST_MEMBERS = 64


class Ensemble(nn.Module):
    """The mean of several networks' probabilities, as logits.

    Args:
        members: at least one; all of one design and output.
        head: "softmax": the log of the mean probability of each class; "sigmoid": the logit of the mean probability.
    Shapes: as each member's.
    """

    def __init__(self, members: Sequence[SizedNetwork], head: Head) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)  # type: ignore[arg-type]
        self.head = head
        self.design = members[0].design
        self.output = members[0].output
        if any((member.design, member.output) != (self.design, self.output) for member in members):
            raise ValueError("the members of an ensemble must have one design")

    def forward(self, image: Tensor) -> Tensor:
        return mean_scores((member(image) for member in self.members), self.head)


def build_ensemble(name: str, settings: Mapping[str, object], *, members: int, head: Head) -> Ensemble:
    """So many networks of this name with these settings as one. Raises: UserError as `build_network`, or for their number."""
    if not 1 <= members <= MOST_MEMBERS:
        raise UserError(f"an ensemble has 1 to {MOST_MEMBERS} members, not {members}")
    return Ensemble([build_network(name, settings) for _ in range(members)], head)
