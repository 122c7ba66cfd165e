"""Everything that decides a training: one validated object, one YAML file, one hash. The defaults are the paper's U-Net."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_type_hints

from ..data.augmentation import Augmentation, in_todays_words
from ..data.slice_grid import Preprocessing
from ..errors import UserError, nearest
from ..labels import LabelTable
from ..network.catalogue import NETWORKS
from ..network.decide import Head, output_channels
from ..network.sizes import Design, Padding, check_design, output_side
from ..network.unet import Normalization, Output
from .loss import LossSettings
from .schedule import Shape

# Younger than the first runs, and by default as those trained: then not in the digest, so that an earlier run goes on.
ADDED_SETTINGS = (
    *("ema", "schedule", "warm_up_fraction", "gradient_norm", "patience", "compile"),
    *("preprocessing.normalisation.mean", "preprocessing.normalisation.deviation"),
    *("loss.background", "loss.focal_weight", "loss"),  # parts before the whole
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSettings:
    """The network; see `OriginalUNet` for what each does."""

    name: str = "original"
    width: int = 64
    depth: int = 4
    padding: Padding = "valid"
    output: Output = "centre"
    normalization: Normalization = "none"
    dropout: float = 0.5
    head: Head = "softmax"


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """One training, but for the data and the fold."""

    name: str = "unet"
    manifest: str = ""  # the data set, relative to the experiment file; not part of the digest
    network: NetworkSettings = field(default_factory=NetworkSettings)
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    augmentation: Augmentation = field(default_factory=Augmentation)
    patch: tuple[int, int] = (572, 572)  # rows, columns of the network's input in training
    batch_size: int = 1
    steps_per_epoch: int = 100
    epochs: int = 100  # with a time budget, the schedule ends with the budget instead
    foreground_fraction: float = 0.67  # share of samples centred on a voxel of a structure, each structure equally often
    loss: LossSettings = field(default_factory=LossSettings)
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = 3e-4
    schedule: Shape = "poly"  # how the rate falls to 0 after the warm-up
    warm_up_fraction: float = 0.02  # of the training: Adam's first steps, with moments of few gradients, are its wildest
    gradient_norm: float = 12.0  # longer ones are cut to it: ordinary ones are 0.1 to 3, so only outbreaks; 0: none is cut
    patience: int = 0  # epochs without a better one after which the training ends; 0: it never ends early
    momentum: float = 0.99  # sgd only; the paper's
    weight_decay: float = 1e-4
    ema: float = 0.0  # share of the averaged weights that stays at each step; 0: no averaging
    precision: Literal["fp32", "bf16"] = "fp32"  # of the training; validation and prediction are fp32
    compile: bool = False  # by torch.compile, which needs a C++ compiler and half a minute: worth it on GPUs
    workers: int = 1  # processes that prepare samples; the samples do not depend on it
    threads: int = 0  # of the network; 0: one a core. Equal weights need equal threads
    seed: int = 0

    def problems(self) -> list[str]:
        """What is wrong with these settings, in words; empty when nothing is."""
        found = self.preprocessing.problems() + self.augmentation.problems() + self.loss.problems()
        limits: list[tuple[str, float, float]] = [
            ("batch_size", 1, 4096),
            ("steps_per_epoch", 1, 10**6),
            ("epochs", 1, 10**6),
            ("foreground_fraction", 0, 1),
            ("learning_rate", 1e-8, 10),
            ("warm_up_fraction", 0, 0.5),
            ("gradient_norm", 0, 1e6),
            ("patience", 0, 10**6),
            ("momentum", 0, 0.9999),
            ("weight_decay", 0, 1),
            ("ema", 0, 0.99999),
            ("workers", 0, 64),
            ("threads", 0, 1024),
            ("seed", 0, 2**31 - 1),
        ]
        for name, least, most in limits:
            value = getattr(self, name)
            if not least <= value <= most:  # NaN lies nowhere
                found.append(f"{name} must be {least:g} to {most:g}, is {value}")
        return found + self._network_problems()

    def _network_problems(self) -> list[str]:
        network = self.network
        found = []
        if network.name not in NETWORKS:
            found.append(f"network.name: '{network.name}' is not a network{nearest(network.name, NETWORKS)}")
        if not 0 <= network.dropout < 1:
            found.append(f"network.dropout must be 0 to below 1, is {network.dropout}")
        if network.padding == "same" and network.output == "rescale":
            found.append("network.output: rescale is a remedy for network.padding: valid; same has nothing to rescale")
        design = Design(width=network.width, depth=network.depth, padding=network.padding)
        try:
            check_design(design)
        except UserError as error:
            return [*found, f"network.{error.what}"]
        for side in self.patch:
            try:
                output_side(design, side)
            except UserError as error:
                found.append(f"patch: {error}".rstrip("."))
        return found

    def network_settings(self, table: LabelTable, image_channels: int) -> dict[str, Any]:
        """Arguments of the network for these structures and this number of image channels."""
        network = self.network
        return {
            "in_channels": image_channels * (2 * self.preprocessing.neighbours + 1),
            "out_channels": output_channels(len(table.structures), network.head),
            "width": network.width,
            "depth": network.depth,
            "padding": network.padding,
            "output": network.output,
            "normalization": network.normalization,
            "dropout": network.dropout,
        }

    @property
    def digest(self) -> str:
        """sha256 over every setting that decides the weights: two experiments with one digest train alike."""
        settings, defaults = asdict(self), asdict(Experiment())
        for name in ("name", "manifest", "workers"):
            del settings[name]
        for dotted in ADDED_SETTINGS:
            *path, name = dotted.split(".")
            part, usual = settings, defaults
            for key in path:
                part, usual = part[key], usual[key]
            if part[name] == usual[name]:
                del part[name], usual[name]
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()

    def check_fits(self, table: LabelTable) -> None:
        """Raises: UserError when the head cannot express these structures."""
        if self.network.head == "softmax" and table.overlapping:
            raise UserError("overlapping structures need network.head: sigmoid, since softmax gives each pixel one class")
        if self.network.head == "sigmoid" and not table.overlapping and not table.binary:
            raise UserError(
                f"network.head: sigmoid with {len(table.structures)} structures that exclude each other",
                next="Use head: softmax, or declare the data set as --overlapping.",
            )
        if self.network.head == "sigmoid" and table.binary and self.loss.class_weights == "census":
            raise UserError(
                "loss.class_weights: census has nothing to weigh: network.head: sigmoid has one channel for one structure",
                next="Use head: softmax, which has one for the background as well.",
            )
        if self.network.head == "sigmoid" and not self.loss.background:
            raise UserError(
                "loss.background: false has nothing to leave out: network.head: sigmoid has no channel for the background",
                next="Leave loss.background at true.",
            )


def read_experiment(path: Path) -> Experiment:
    """An experiment file. Raises: UserError with every problem at once, and the nearest name for a slip of typing."""
    import yaml

    if not path.is_file():
        near = [p.name for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        raise UserError(f"no such experiment file{nearest(path.name, near) if near else ''}", where=path)
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"not readable as YAML: {error}", where=path) from error
    return experiment_from({} if data is None else data, where=path)


def experiment_from(data: object, *, where: Path) -> Experiment:
    """An experiment from plain types; the one gate behind which nobody checks again."""
    problems: list[str] = []
    experiment = _build(Experiment, data, "", problems)
    problems += experiment.problems()
    if problems:
        raise UserError("; ".join(problems), where=where, next="docs/train.md lists all settings.")
    return experiment  # type: ignore[no-any-return]


def _build(cls: Any, data: object, prefix: str, problems: list[str]) -> Any:
    """An object of this class; where a setting cannot be used, with its default, and a problem more."""
    if not isinstance(data, Mapping):
        problems.append(f"{prefix.rstrip('.') or 'the file'} must hold settings (name: value), not {data!r}")
        return cls()
    data = in_todays_words(data) if cls is Augmentation else data
    hints = get_type_hints(cls)
    names = [f.name for f in fields(cls)]
    values: dict[str, Any] = {}
    for key, value in data.items():
        before = len(problems)
        if key not in names:
            problems.append(f"{prefix}{key} is not a setting{nearest(str(key), names)}")
            continue
        if is_dataclass(hints[key]):
            values[key] = _build(hints[key], value, f"{prefix}{key}.", problems)
            continue
        built = _value(hints[key], value, f"{prefix}{key}", problems)
        if len(problems) == before:
            values[key] = built
    return cls(**values)


def _value(hint: Any, value: object, name: str, problems: list[str]) -> object:
    """`value` as the type the setting has, or a problem."""
    arguments: tuple[Any, ...] = getattr(hint, "__args__", ())
    if getattr(hint, "__origin__", None) is Literal:
        if value not in arguments:
            problems.append(f"{name} must be one of {', '.join(map(str, arguments))}, is {value!r}")
        return value
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if hint is float and isinstance(value, str):  # YAML reads 1e-4 as text: it wants 1.0e-4
        try:
            return float(value)
        except ValueError:
            pass
    if hint in (int, str, bool) and type(value) is hint:
        return value
    if getattr(hint, "__origin__", None) is tuple and isinstance(value, list | tuple):
        hints = arguments[:1] * len(value) if Ellipsis in arguments else arguments
        wrong: list[str] = []
        items = tuple(_value(one, item, name, wrong) for one, item in zip(hints, value, strict=False))
        if len(hints) == len(value) and not wrong:
            return items
    problems.append(f"{name} must be {_kind(hint)}, is {value!r}")
    return value


def _kind(hint: Any) -> str:
    kinds = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    if hint in kinds:
        return kinds[hint]
    return "a list"


def experiment_yaml(experiment: Experiment, reasons: Mapping[str, str], *, short: bool = False) -> str:
    """The experiment as YAML.

    Args:
        reasons: "network.padding" and the like → why the value was chosen (a comment).
        short: only what differs from the defaults or has a reason; reads back as the same experiment.
    """
    settings: Mapping[str, Any] = asdict(experiment)
    lines: list[str] = []
    _write(_told(settings, asdict(Experiment()), "", reasons) if short else settings, "", 0, reasons, lines)
    return "\n".join(lines) + "\n"


def _told(data: Mapping[str, Any], usual: Mapping[str, Any], prefix: str, reasons: Mapping[str, str]) -> dict[str, Any]:
    """The settings that are not as usual, or have a reason."""
    told: dict[str, Any] = {}
    for key, value in data.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            told[key] = _told(value, usual[key], f"{name}.", reasons)
        elif value != usual[key] or name in reasons:
            told[key] = value
    return {key: value for key, value in told.items() if value != {}}


def _write(data: Mapping[str, Any], prefix: str, depth: int, reasons: Mapping[str, str], lines: list[str]) -> None:
    import yaml

    for key, value in data.items():
        if isinstance(value, Mapping):
            lines.append(f"{'  ' * depth}{key}:")
            _write(value, f"{prefix}{key}.", depth + 1, reasons, lines)
            continue
        plain = list(value) if isinstance(value, tuple) else value
        text = (
            yaml.safe_dump(plain, default_flow_style=True, width=10**6, allow_unicode=True).strip().removesuffix("...").strip()
        )
        reason = reasons.get(f"{prefix}{key}")
        lines.append(f"{'  ' * depth}{key}: {text}" + (f"  # {reason}" if reason else ""))
