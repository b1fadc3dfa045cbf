"""Which modules the converter knows, and whether one still computes what its class says."""

from torch import fx, nn

from ..errors import UnsupportedModel
from ..nn import (
    ActiveShift2d,
    AdderConv2d,
    AdderLinear,
    AddressShift2d,
    Affine,
    ChannelShift,
    FixedPoint,
    GroupedShift2d,
    PadShortcut,
    QuantAct,
    Quantizer,
    SelectChannels,
    ShiftConv2d,
    ShiftConvTranspose2d,
    ShiftLinear,
    ShortcutShift,
    SparseShift2d,
)
from . import activations

SPATIAL_SHIFTS = (ActiveShift2d, GroupedShift2d, SparseShift2d)
OWN = (*SPATIAL_SHIFTS, AdderConv2d, AdderLinear, AddressShift2d, Affine, ChannelShift, FixedPoint, PadShortcut,
       QuantAct, Quantizer, SelectChannels, ShiftConv2d, ShiftConvTranspose2d, ShiftLinear, ShortcutShift)
KNOWN = (*OWN, *activations.KNOWN, nn.AdaptiveAvgPool2d, nn.AvgPool2d, nn.BatchNorm1d, nn.BatchNorm2d,
         nn.ChannelShuffle, nn.Dropout, nn.Dropout2d, nn.Flatten, nn.Hardtanh, nn.Identity, nn.MaxPool2d, nn.ReLU,
         nn.ReLU6, nn.Upsample)
"""Types that have a mapping; of a subclass, the nearest of them is what it is converted as."""
HARMLESS = ("calibrated", "extra_repr", "function", "observe", "reset_parameters", "reset_running_stats", "shift_loss",
            "sparsity")
"""What a subclass may redefine: none of it changes a result in evaluation mode."""


def known_type(module: nn.Module) -> type[nn.Module] | None:
    """The type that `module` is converted as; None if it has no mapping."""
    return next((kind for kind in type(module).__mro__ if kind in KNOWN), None)


def redefined(module: nn.Module) -> str | None:
    """A method of its known type that a subclass, or the module itself, redefines; None if there is none.

    The converter reads a layer's parameters and never calls its forward, so it would not see the change.
    A parametrization only redefines parameters: the converter reads what it gives.
    """
    lineage = type(module).__mro__
    kind = known_type(module)
    if kind is None:
        return None
    own = {"__call__"}
    for base in kind.__mro__[:kind.__mro__.index(nn.Module)]:
        own |= {name for name, value in vars(base).items()
                if not name.startswith("__") and (callable(value) or isinstance(value, property))}
    own -= set(HARMLESS)
    changed = set(vars(module)).union(*(vars(subclass) for subclass in lineage[:lineage.index(kind)]))
    return min(own & changed, default=None)


def refuse_hidden_code(model: nn.Module) -> None:
    """Raise UnsupportedModel for code that runs when a module is called, but that a trace does not show."""
    for path, module in model.named_modules():
        where = f"{path} ({type(module).__name__})" if path else type(module).__name__
        if module._forward_hooks or module._forward_pre_hooks:
            raise UnsupportedModel(f"{where}: has a forward hook, which the converter would not see; remove the hook, "
                                   f"or write what it does into forward")
    if isinstance(model, fx.GraphModule):
        return  # fx writes its forward and its __call__
    if "forward" in vars(model) or type(model).__call__ is not nn.Module.__call__:
        raise UnsupportedModel(f"{type(model).__name__}: replaces forward on the object, or __call__, which the "
                               f"converter would not see; define forward in its class")
