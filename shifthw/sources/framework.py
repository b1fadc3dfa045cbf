"""What the source frameworks have in common: plain networks some of whose layers are shift layers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from ..errors import UnsupportedModel
from ..ir.graph import Rounding
from ..ir.types import IntType
from ..nn import AdderConv2d, FixedPoint, Quantizer, ShiftConv2d, ShiftLinear
from ..quantize import MAX_WEIGHT_BITS, MIN_WEIGHT_BITS, Form
from .architectures import Architecture

Plain = nn.Conv2d | nn.Linear
Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """What a checkpoint does not tell, as it was given to the framework when the network was trained.

    weight_bits     bits of a shift weight, sign included
    act_format      (integer bits, fraction bits) of activations, the sign in the integer bits
    sign_threshold  of form PS: |sign| up to it is weight 0; "default": the framework's default; None: rounding,
                    which is a threshold of 0.5
    exact           the weights must be powers of two as they are in the file
    add_quant       of ShiftAddNet's adder layers: "wageubn", weights and inputs on the grid 2**-(add_bits - 1); "sbm",
                    on grids between their smallest and largest values; None: not rounded
    add_bits        2..32, of sbm at most 16
    """

    weight_bits: int = 5
    act_format: tuple[int, int] = (16, 16)
    sign_threshold: float | None | str = "default"
    exact: bool = False
    add_quant: str | None = None
    add_bits: int = 8

    def __post_init__(self) -> None:
        def require(holds: bool, name: str, must: str) -> None:
            if not holds:
                raise UnsupportedModel(f"{name}: must be {must}, not {getattr(self, name)}")
        integer, fraction = self.act_format
        require(MIN_WEIGHT_BITS <= self.weight_bits <= MAX_WEIGHT_BITS, "weight_bits",
                f"{MIN_WEIGHT_BITS}..{MAX_WEIGHT_BITS}")
        require(integer >= 2 and fraction >= 0 and integer + fraction <= 32, "act_format",
                "at least 2 integer bits and 0 fraction bits, and at most 32 together")
        require(self.add_quant in (None, "wageubn", "sbm"), "add_quant", "wageubn or sbm")
        require(2 <= self.add_bits <= (16 if self.add_quant == "sbm" else 32), "add_bits",
                "2..16 of sbm" if self.add_quant == "sbm" else "2..32")
        require(not isinstance(self.sign_threshold, float) or 0 <= self.sign_threshold < 1, "sign_threshold", "in 0..1")


class SourceLayer(nn.Module):
    """One layer as the framework computes it: y = layer(rounding(x)).

    layer     weights as in the checkpoint, rounded as the framework rounds them
    rounding  what the framework rounds the layer's input to; None if it takes it as it is
    affine    what it rounds it to instead, of which `rounding` is the nearest grid that the engine has
    """

    def __init__(self, layer: ShiftConv2d | ShiftLinear | AdderConv2d, rounding: Quantizer | None,
                 affine: nn.Module | None = None) -> None:
        super().__init__()
        self.layer, self.rounding, self.affine = layer, rounding, affine

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rounding = self.affine or self.rounding
        return self.layer(x if rounding is None else rounding(x))


AdderMaker = Callable[[str, AdderConv2d, Tensors, SourceOptions], SourceLayer]
LayerMaker = Callable[[str, Plain, Tensors, SourceOptions], SourceLayer]
"""Makes the layer at a path of a plain one and the tensors of the checkpoint, by their names without the path."""


@dataclass(frozen=True)
class Kind:
    """One way to keep a layer's weights: the names of its tensors, all of the shape of the weight, and what it
    becomes; None: an ordinary layer with real weights."""

    tensors: tuple[str, ...]
    make: LayerMaker | None


ORDINARY = Kind(("weight",), None)


@dataclass(frozen=True)
class Framework:
    """A source of checkpoints.

    `kinds` are the ways in which it keeps layers, the usual one first; which it is, the names of the tensors tell.
    `adder` makes its adder layers, None if it has none; these may have the tensors `of_adders` too: those below a
    module of their own are one number each, the others are of the shape of the weights.
    """

    name: str
    description: str
    architectures: Mapping[str, Architecture]
    kinds: tuple[Kind, ...]
    adder: AdderMaker | None = None
    of_adders: tuple[str, ...] = ()

    def kind(self, path: str, state: Tensors) -> Kind:
        """The kind of layer at `path`: the one whose tensors are there, or most of them; the usual one if none is."""
        def present(kind: Kind) -> tuple[int, int]:
            found = sum((f"{path}.{name}" if path else name) in state for name in kind.tensors)
            return found, -len(kind.tensors)
        best = max(self.kinds, key=present)
        return best if present(best)[0] else self.kinds[0]


def fixed_point(act_format: tuple[int, int]) -> FixedPoint:
    """round_to_fixed of DeepShift, for (integer bits, fraction bits)."""
    return FixedPoint(*act_format)


def nearest_fixed_point(fraction_bits: int) -> Quantizer:
    """round(x * 2**f) / 2**f, halves to the even number; clamped to 32 bits, which the frameworks do not do."""
    dtype = IntType(32, True)
    return Quantizer(dtype, dtype.lo, dtype.hi, Rounding.HALF_EVEN, 2.0**-fraction_bits)


def shift_layer(path: str, plain: Plain, form: Form, weight_bits: int, tensors: Tensors,
                bias_format: tuple[int, int] | None) -> ShiftConv2d | ShiftLinear:
    """The shift layer of a plain one's shape with the checkpoint's latent weights and bias."""
    biased = plain.bias is not None
    if type(plain).forward not in (nn.Conv2d.forward, nn.Linear.forward):
        raise UnsupportedModel(f"{path} ({type(plain).__name__}): redefines forward; must be torch.nn.Conv2d or Linear "
                               f"itself")
    layer: ShiftConv2d | ShiftLinear
    if isinstance(plain, nn.Linear):
        layer = ShiftLinear(plain.in_features, plain.out_features, biased, form=form, weight_bits=weight_bits,
                            bias_format=bias_format)
    else:
        if plain.padding_mode != "zeros" or isinstance(plain.padding, str):
            raise UnsupportedModel(f"{path}: has padding {plain.padding} of {plain.padding_mode}; must be numbers of "
                                   f"zeros")
        layer = ShiftConv2d(plain.in_channels, plain.out_channels, _two(plain.kernel_size), _two(plain.stride),
                            _two(plain.padding), _two(plain.dilation), plain.groups, biased, form=form,
                            weight_bits=weight_bits, bias_format=bias_format)
    layer.load_state_dict({name: tensors[name] for name, _ in layer.named_parameters()})
    return layer


def _two(value: tuple[int, ...]) -> tuple[int, int]:
    return value[0], value[1]


OTHER_BITS = ", or weights change: give the --weight-bits that the network was trained with, or no --exact"


def with_threshold(tensors: Tensors, threshold: float | None) -> dict[str, torch.Tensor]:
    """The tensors with signs -1, 0 and 1 by a threshold: |sign| up to it is 0. None leaves them for rounding."""
    if threshold is None:
        return dict(tensors)
    sign = tensors["sign"]
    return {**tensors, "sign": torch.where(sign.abs() <= threshold, 0.0, sign.sign())}


def require_powers_of_two(path: str, weight: torch.Tensor, what: str = "weight") -> None:
    """Raise UnsupportedModel unless every weight is 0 or a signed power of two."""
    off = (weight != 0) & (torch.frexp(weight).mantissa.abs() != 0.5)
    if bool(off.any()):
        raise UnsupportedModel(f"{path}.{what}: {int(off.sum())} of {off.numel()} weights are not powers of two, the "
                               f"first is {float(weight[off][0]):.7g}; must be exact as asked: import weights.pth, "
                               f"which is rounded, or let them be rounded without --exact")


def require_within(path: str, weight: torch.Tensor, lowest: int, remedy: str = "") -> None:
    """Raise UnsupportedModel unless the magnitudes of all weights but 0 are within 2**lowest..1."""
    used = weight[weight != 0].abs()
    if used.numel() and not 2.0**lowest <= float(used.min()) <= float(used.max()) <= 1.0:
        raise UnsupportedModel(f"{path}.weight: holds magnitudes {float(used.min()):.3g}..{float(used.max()):.3g}; "
                               f"must be within {2.0**lowest:.3g}..1{remedy}")


def require_whole(path: str, tensors: Tensors, lowest: int) -> None:
    """Raise UnsupportedModel unless shifts are whole, within lowest..0 where they count, and signs -1, 0 or 1."""
    shift, sign = tensors["shift"], tensors["sign"]
    for name, off in (("shift", shift != shift.round()), ("sign", sign != sign.sign())):
        if bool(off.any()):
            raise UnsupportedModel(f"{path}.{name}: {int(off.sum())} of {off.numel()} values are latent, the first is "
                                   f"{float(tensors[name][off][0]):.7g}; must be exact as asked: import weights.pth, "
                                   f"which is rounded, or let them be rounded without --exact")
    used = shift[sign != 0]
    if used.numel() and not lowest <= float(used.min()) <= float(used.max()) <= 0:
        found = f"{float(used.min()):g}..{float(used.max()) + 0.0:g}"       # no -0
        raise UnsupportedModel(f"{path}.shift: holds {found}; must be within {lowest}..0{OTHER_BITS}")
