"""Which networks an experiment or a bundle may name: an allow-list, so a file never decides what code runs."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from ..errors import UserError, nearest
from .unet import OriginalUNet

# name → module:class, loaded when chosen
NETWORKS = {"original": ".unet:OriginalUNet"}


def build_network(name: str, settings: Mapping[str, object]) -> OriginalUNet:
    """The network of this name with these settings. Raises: UserError for a name or setting that is not in the list."""
    if name not in NETWORKS:
        raise UserError(f"'{name}' is not a network{nearest(name, NETWORKS)}")
    module, _, attribute = NETWORKS[name].partition(":")
    network_class = getattr(import_module(module, __package__), attribute)
    known = network_class.__init__.__annotations__.keys() - {"return"}
    for key in settings:
        if key not in known:
            raise UserError(f"'{key}' is not a setting of the network '{name}'{nearest(key, known)}")
    network: OriginalUNet = network_class(**settings)
    return network
