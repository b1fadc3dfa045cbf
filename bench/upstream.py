"""Layers of the source frameworks, bit for bit: `python -m bench.upstream GOLDEN.npz`.

The file holds vectors computed by running the frameworks' own layers, or ports of CUDA code, in float32. Entry
`cases.json`, bytes of a list of cases, says what each is: name, kind ("deepshift.Conv2dShift", "addernet.adder2d",
"caffe.ActiveShift(port)", ...), and the arguments of its constructor; entries NAME.x and NAME.y are input and output,
NAME.PARAMETER the parameters, NAME.PARAMETER_after what the layer made of them in place.

Prints for each case whether the layer that an import makes of the parameters gives the same bits, once with
the parameters before and once with those after. Exits with 1 if one differs. The order in which matrix
libraries add up float32 numbers depends on where in memory the input begins: it is tried at four offsets,
and the first that gives equal bits is named.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from shifthw.nn import ActiveShift2d, AdderConv2d, GroupedShift2d, SparseShift2d
from shifthw.sources.framework import SourceOptions
from shifthw.sources.load import FRAMEWORKS

Tensors = dict[str, torch.Tensor]
OFFSETS = 4
"""In float32 numbers, up to the next aligned address."""


def conv(case: dict[str, Any], tensors: Tensors) -> nn.Conv2d:
    """The plain convolution of a case."""
    return nn.Conv2d(case["cin"], case["cout"], case["k"], case["s"], case["p"], case.get("d", 1), case.get("g", 1),
                     case["bias"])


def linear(case: dict[str, Any], tensors: Tensors) -> nn.Linear:
    """The plain linear layer of a case."""
    outputs, inputs = next(value for name, value in tensors.items() if name != "bias").shape
    return nn.Linear(inputs, outputs, "bias" in tensors)


def shift(framework: str, plain: Callable[[dict[str, Any], Tensors], Any]) -> Callable[..., nn.Module]:
    """The layer of a framework for a case and its parameters."""
    def make(case: dict[str, Any], tensors: Tensors) -> nn.Module:
        layer = FRAMEWORKS[framework].kinds[0].make
        assert layer is not None
        return layer("layer", plain(case, tensors), tensors, options(case))
    return make


def options(case: dict[str, Any]) -> SourceOptions:
    """The constructor's arguments as options of an import."""
    if "input_bits" in case:
        return SourceOptions(act_format=(16, case["input_bits"]), sign_threshold=case["threshold"])
    return SourceOptions(weight_bits=case["weight_bits"],
                         act_format=(case["act_integer_bits"], case["act_fraction_bits"]))


def adder(case: dict[str, Any], tensors: Tensors) -> nn.Module:
    """The adder layer of a case."""
    layer = AdderConv2d(case["cin"], case["cout"], case["k"], case["s"], case["p"], bias=case["bias"])
    layer.load_state_dict(tensors)
    return layer


def grouped_shift(case: dict[str, Any], tensors: Tensors) -> nn.Module:
    """ShiftNet's fixed shift."""
    return GroupedShift2d(case["channels"], case["kernel_size"], case["dilate_factor"])


def active_shift(case: dict[str, Any], tensors: Tensors) -> nn.Module:
    """Caffe's ActiveShift; a layer of ours has no padding of its own."""
    return nn.Sequential(nn.ZeroPad2d(case["pad"]),
                         moving_by(torch.stack([tensors["ypos"], tensors["xpos"]], dim=1), case["stride"]))


def torchshifts(case: dict[str, Any], tensors: Tensors) -> nn.Module:
    """Its shift layer. Active, it samples at h - floor(w) + (w - floor(w)), not at h - w, along rows, then columns."""
    weight = tensors["weight_hw"]
    if not case["active"]:
        return SparseShift2d.from_torchshifts(weight)
    displacement = weight - 2 * weight.floor()
    return nn.Sequential(moving_by(displacement * torch.tensor([1.0, 0.0])),
                         moving_by(displacement * torch.tensor([0.0, 1.0])))


def moving_by(displacement: torch.Tensor, stride: int = 1) -> ActiveShift2d:
    """A layer in training mode, which interpolates."""
    layer = ActiveShift2d(len(displacement), stride)
    layer.load_state_dict({"displacement": displacement})
    return layer


LAYERS: dict[str, Callable[..., nn.Module]] = {
    "deepshift.Conv2dShift": shift("deepshift-ps", conv), "deepshift.LinearShift": shift("deepshift-ps", linear),
    "deepshift.Conv2dShiftQ": shift("deepshift-q", conv), "deepshift.LinearShiftQ": shift("deepshift-q", linear),
    "torchshiftadd.Conv2dShift": shift("torchshiftadd", conv), "addernet.adder2d": adder,
    "shiftnet.GenericShift(port)": grouped_shift, "caffe.ActiveShift(port)": active_shift,
    "torchshifts.Shift2d": torchshifts,
}


def compare(case: dict[str, Any], arrays: Tensors) -> bool:
    """Prints one line for a case; whether all its bits are equal."""
    x, y = arrays.pop("x"), arrays.pop("y")
    case = case | {"channels": x.shape[1]}
    before = {name: value for name, value in arrays.items() if not name.endswith("_after")}
    after = before | {name.removesuffix("_after"): value for name, value in arrays.items() if name.endswith("_after")}
    found = [differing(LAYERS[case["kind"]](case, tensors), x, y) for tensors in (before, after)]
    equal = all(0 in counts for counts in found)
    where = max(counts.index(0) for counts in found) if equal else 0
    text = "equal" if equal else f"DIFFERENT in {min(found[0])}, with parameters after in {min(found[1])}"
    print(f"{case['name']}  {case['kind']:27} {y.numel():5} outputs: {text}"
          f"{f', input {4 * where} bytes past an aligned address' if where else ''}")
    return equal


def differing(layer: nn.Module, x: torch.Tensor, y: torch.Tensor) -> list[int]:
    """Outputs that differ from `y`, for the input at each of the offsets in memory."""
    counts = []
    for offset in range(OFFSETS):
        moved = torch.empty(x.numel() + OFFSETS)[offset:offset + x.numel()].view(x.shape).copy_(x)
        with torch.no_grad():
            found = layer(moved)
        assert found.shape == y.shape
        counts.append(int((found != y).sum()))
    return counts


def main() -> int:
    """Compares every case of the file."""
    torch.set_num_threads(1)
    with np.load(Path(sys.argv[1]), allow_pickle=False) as file:
        cases = json.loads(file["cases.json"].tobytes())
        arrays = {case["name"]: {key.partition(".")[2]: torch.from_numpy(file[key]) for key in file.files
                                 if key.startswith(f"{case['name']}.")} for case in cases}
    equal = [compare(case, arrays[case["name"]]) for case in cases]
    print(f"{sum(equal)} of {len(equal)} cases equal in every bit")
    return 0 if all(equal) else 1


if __name__ == "__main__":
    sys.exit(main())
