"""A float network to one of shift layers and quantized activations, without training."""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import fx, nn

from ..errors import UnsupportedModel
from ..ir.verify import MAX_LOOKUP_BITS
from ..nn import AdderConv2d, AdderLinear, QuantAct, Quantizer, ShiftConv2d, ShiftConvTranspose2d, ShiftLinear
from ..nn.adder import MAX_ADDER_BITS, MIN_ADDER_BITS
from ..nn.transposed import turned
from ..quantize import MAX_NEAREST_BITS, MIN_WEIGHT_BITS, nearest_values
from .calibrate import METHODS, Method, calibrate
from .convert import capture_float, round_adders
from .placement import NARROW, Place
from .plain_layers import PlainNetwork
from .plain_modules import PlainWeighted, ShiftLayer
from .prepare import read_network, rebuild

MAX_TERMS = 4
SCALES_TRIED = 5
"""Powers of two from the one above the largest weight downward."""


@dataclass(frozen=True, kw_only=True)
class QuantizeOptions:
    """How a float network is quantized.

    weight_bits         2..5 per term: sign and exponent, one code for 0
    terms               powers of two per weight, 1..4; (fewest, most) to choose for each layer
    weight_snr          with a range of terms: signal to weight error in dB that each layer must reach
    first_terms         of the first layer, last_terms of the last (default: as all); layer_terms by path
    per_channel         one power-of-two weight scale per output channel instead of one per layer
    activation_bits     2..16; of the logits too; of one operand of a product at most 8, and of all in a network with
                        activation functions that are tables
    calibration         how scales are chosen: see shifthw.frontend.calibrate
    adder_bits          4..16: signed integers that weights of adder layers are limited to; None: each layer's own
    power_of_two        activation scales are powers of two
    input_scale         real value of one step of an unsigned 8-bit input; None: calibrated
    batch_norm_images   calibration images that batch-norm statistics are measured on anew, 0 for none, 2 at least
    """

    weight_bits: int = 4
    terms: int | tuple[int, int] = 2
    weight_snr: float = 25.0
    first_terms: int | None = None
    last_terms: int | None = None
    layer_terms: Mapping[str, int] = field(default_factory=dict)
    per_channel: bool = True
    activation_bits: int = 8
    calibration: Method = "mse"
    percentile: float = 0.9999
    power_of_two: bool = False
    input_scale: float | None = None
    batch_norm_images: int = 0
    adder_bits: int | None = None

    def __post_init__(self) -> None:
        def require(holds: bool, name: str, must: str) -> None:
            if not holds:
                raise UnsupportedModel(f"{name}: must be {must}, not {getattr(self, name)}")
        fewest, most = self.terms_range
        require(MIN_WEIGHT_BITS <= self.weight_bits <= MAX_NEAREST_BITS, "weight_bits",
                f"{MIN_WEIGHT_BITS}..{MAX_NEAREST_BITS}")
        require(1 <= fewest <= most <= MAX_TERMS, "terms", f"within 1..{MAX_TERMS}, the fewest first")
        require(0.0 < self.weight_snr < math.inf, "weight_snr", "positive")
        for name in ("first_terms", "last_terms"):
            require(getattr(self, name) in (None, *range(1, MAX_TERMS + 1)), name, f"1..{MAX_TERMS}")
        require(all(1 <= terms <= MAX_TERMS for terms in self.layer_terms.values()), "layer_terms", f"1..{MAX_TERMS}")
        require(2 <= self.activation_bits <= 16, "activation_bits", "2..16")
        require(self.adder_bits is None or MIN_ADDER_BITS <= self.adder_bits <= MAX_ADDER_BITS, "adder_bits",
                f"{MIN_ADDER_BITS}..{MAX_ADDER_BITS}")
        require(self.calibration in METHODS, "calibration", f"one of {', '.join(METHODS)}")
        require(0.0 < self.percentile <= 1.0, "percentile", "in 0..1")
        require(self.input_scale is None or self.input_scale > 0, "input_scale", "positive")
        require(self.batch_norm_images == 0 or self.batch_norm_images > 1, "batch_norm_images", "0, or at least 2")

    @property
    def terms_range(self) -> tuple[int, int]:
        """Fewest and most terms of a layer."""
        return (self.terms, self.terms) if isinstance(self.terms, int) else self.terms


def quantize(model: nn.Module, images: torch.Tensor, options: QuantizeOptions | None = None) -> fx.GraphModule:
    """`model` with shift weights and calibrated quantizers, in evaluation mode: ready for shifthw.save or to train.

    Its meta["float_reference"] keeps the float network, which shifthw.save stores for `shifthw check`.

    model   a plain float network (see prepare), weights loaded; not changed
    images  real calibration images [N, C, H, W] or [N, F]

    Every layer keeps its path and its float weights as latent parameters, so that training can go on from
    here. Raises UnsupportedModel for a model or for options without a mapping.
    """
    options = options or QuantizeOptions()
    images = images.detach().cpu().float()
    _check_images(images, options)
    network = read_network(model, images[:2])
    _check_layers(network, options)
    prepared = rebuild(network, lambda path, plain: shift_layer(path, plain, options, network.weighted),
                       lambda place: _quantizer(place, options, unsigned_input=bool(images.min() >= 0))).eval()
    trained_norms = {path: copy.deepcopy(module.state_dict()) for path, module in _batch_norms(prepared)}
    if options.batch_norm_images:
        measure_batch_norms(prepared, images[:options.batch_norm_images])
    calibrate(prepared, images, options.calibration, options.percentile, options.power_of_two)
    are_cut_off = _configure_adders(prepared, model, options.adder_bits)
    round_adders(prepared, images[:2])
    if options.batch_norm_images and are_cut_off:
        measure_batch_norms(prepared, images[:options.batch_norm_images])   # weights cut off move all sums one way
    original = copy.deepcopy(prepared)
    for path, module in _batch_norms(original):
        module.load_state_dict(trained_norms[path])
    prepared.meta["float_reference"] = capture_float(original, images[:2])     # deep copies keep it there
    return prepared


def _configure_adders(prepared: nn.Module, model: nn.Module, adder_bits: int | None) -> bool:
    """Give the adder layers what `model`'s have beside their weights, and the options' bits if there are any.

    Whether some layer has a limit for its weights.
    """
    limited = False
    given = dict(model.named_modules())
    for path, module in prepared.named_modules():
        if isinstance(module, AdderConv2d | AdderLinear):
            own = given.get(path)
            if isinstance(own, AdderConv2d | AdderLinear):
                module.weight_bits, module.eta = own.weight_bits, own.eta
            module.weight_bits = adder_bits or module.weight_bits
            limited |= module.weight_bits is not None
    return limited


def _check_images(images: torch.Tensor, options: QuantizeOptions) -> None:
    if not images.numel() or not bool(torch.isfinite(images).all()):
        raise UnsupportedModel(f"calibration images: must be finite numbers and at least one image, not of shape "
                               f"{list(images.shape)}{' with NaN or infinite values' if images.numel() else ''}")
    if options.input_scale is not None and images.min() < 0:
        raise UnsupportedModel(f"input_scale: is for images of 0 or more, these go down to {float(images.min()):.3g}; "
                               f"leave it out")
    if options.batch_norm_images > len(images):
        raise UnsupportedModel(f"batch_norm_images: must be at most the {len(images)} calibration images there are, "
                               f"not {options.batch_norm_images}")


def _check_layers(network: PlainNetwork, options: QuantizeOptions) -> None:
    unknown = sorted(set(options.layer_terms) - set(network.weighted))
    if unknown:
        raise UnsupportedModel(f"layer_terms: the network has no layer {unknown[0]!r}; its layers are "
                               f"{', '.join(network.weighted)}")
    table = next((layer for layer in network.layers if layer.kind == "function"), None)
    if table is not None and options.activation_bits > MAX_LOOKUP_BITS:
        raise UnsupportedModel(f"activation_bits: must be at most {MAX_LOOKUP_BITS}, not {options.activation_bits}, in "
                               f"an engine with tables, and {table.where} is one")


def _batch_norms(model: nn.Module) -> list[tuple[str, nn.BatchNorm1d | nn.BatchNorm2d]]:
    return [(path, module) for path, module in model.named_modules()
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]


def _quantizer(place: Place, options: QuantizeOptions, *, unsigned_input: bool) -> Quantizer:
    if place.is_input and options.input_scale is not None:
        return QuantAct(8, scale=options.input_scale)
    signed = not unsigned_input if place.is_input else place.signed is not False
    bits = min(NARROW, options.activation_bits) if place.is_narrow else options.activation_bits
    return QuantAct(8 if place.is_input else bits, signed)


def shift_layer(path: str, plain: PlainWeighted, options: QuantizeOptions, order: Sequence[str]) -> ShiftLayer:
    """The shift layer of form nearest for a plain one; `order` lists the paths of all layers."""
    weight = _weight_of(plain)
    fewest, most = options.terms_range
    if path in options.layer_terms:
        fewest = most = options.layer_terms[path]
    elif path == order[0] and options.first_terms:
        fewest = most = options.first_terms
    elif path == order[-1] and options.last_terms:
        fewest = most = options.last_terms
    for terms in range(fewest, most + 1):
        scale = weight_scale(weight, options.weight_bits, terms, options.per_channel)
        if terms == most or _snr(weight, scale, options.weight_bits, terms) >= options.weight_snr:
            break
    return _layer_of(plain, options.weight_bits, terms, scale)


def _weight_of(plain: PlainWeighted) -> torch.Tensor:
    """The weights, output channels first."""
    weight = plain.weight.detach()
    return turned(weight, plain.groups) if isinstance(plain, nn.ConvTranspose2d) else weight


def _layer_of(plain: PlainWeighted, weight_bits: int, terms: int, scale: float | torch.Tensor) -> ShiftLayer:
    """A shift layer of the plain one's shape and parameters. Padding that differs by side is set by prepare."""
    biased = plain.bias is not None
    module: ShiftLayer
    if isinstance(plain, nn.Linear):
        module = ShiftLinear(plain.in_features, plain.out_features, biased, form="nearest", weight_bits=weight_bits,
                             terms=terms, weight_scale=scale)
    elif isinstance(plain, nn.ConvTranspose2d):
        assert not isinstance(plain.padding, str)
        module = ShiftConvTranspose2d(
            plain.in_channels, plain.out_channels, _two(plain.kernel_size), _two(plain.stride), _two(plain.padding),
            _two(plain.output_padding), plain.groups, biased, _two(plain.dilation), form="nearest",
            weight_bits=weight_bits, terms=terms, weight_scale=scale)
    else:
        assert not isinstance(plain.padding, str)       # exported programs have numbers
        module = ShiftConv2d(plain.in_channels, plain.out_channels, _two(plain.kernel_size), _two(plain.stride),
                             _two(plain.padding), _two(plain.dilation), plain.groups, biased, form="nearest",
                             weight_bits=weight_bits, terms=terms, weight_scale=scale)
    with torch.no_grad():
        module.weight.copy_(_weight_of(plain))
        if module.bias is not None and plain.bias is not None:
            module.bias.copy_(plain.bias)
    return module


def weight_scale(weight: torch.Tensor, weight_bits: int, terms: int, per_channel: bool) -> torch.Tensor:
    """The power of two, float64[] or float64[out], that leaves the least squared error in form nearest."""
    rows = weight.detach().double().reshape(weight.shape[0] if per_channel else 1, -1)
    largest = rows.abs().amax(dim=1)
    top = torch.ceil(torch.log2(torch.where(largest > 0, largest, 1.0)))
    candidates = torch.stack([torch.exp2(top - below) for below in range(SCALES_TRIED)])
    errors = torch.stack([_squared_error(rows, scale[:, None], weight_bits, terms) for scale in candidates])
    best = candidates.gather(0, errors.argmin(dim=0, keepdim=True))[0]
    return best if per_channel else best[0]


def _squared_error(rows: torch.Tensor, scale: torch.Tensor, weight_bits: int, terms: int) -> torch.Tensor:
    return ((nearest_values(rows / scale, weight_bits, terms) * scale - rows) ** 2).sum(dim=1)


def _snr(weight: torch.Tensor, scale: torch.Tensor, weight_bits: int, terms: int) -> float:
    """Signal to error in dB of the weights of a layer."""
    rows = weight.double().reshape(weight.shape[0], -1)
    error = float(_squared_error(rows, scale.reshape(-1, 1), weight_bits, terms).sum())
    return math.inf if error == 0 else 10 * math.log10(float((rows**2).sum()) / error)


def measure_batch_norms(model: nn.Module, images: torch.Tensor, batch: int = 100) -> None:
    """Set running statistics of all batch norms to those of `images`, at least two, which pass the network as it is
    now; quantizers that have no scale yet are left out."""
    norms = [module for _, module in _batch_norms(model)]
    momenta = [norm.momentum for norm in norms]
    was_training = model.training
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None        # the mean over all batches
        norm.train()
    hooks = [module.register_forward_hook(lambda module, inputs, output: inputs[0])
             for module in model.modules() if isinstance(module, QuantAct) and not module.calibrated]
    try:
        with torch.no_grad():
            for part in images.tensor_split(-(-len(images) // batch)):  # of one size: none may be a single image
                model(part)
    finally:
        for hook in hooks:
            hook.remove()
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        model.train(was_training)


def _two(value: tuple[int, ...]) -> tuple[int, int]:
    return value[0], value[1]

