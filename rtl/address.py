"""Address generation: where each channel lane reads, and which operands lie outside the map."""

import numpy as np
from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from shifthw.arch import ArrayConfig

from .module_library import ModuleLibrary, SharedComponent, place


def step_lane_layout(config: ArrayConfig) -> data.StructLayout:
    """A channel lane's part of a step word."""
    c = config.coordinate_bits
    return data.StructLayout({"row": config.row_bits, "rotation": config.pixel_bits,
                              "x_lo": c, "x_hi": c, "y_lo": c, "y_hi": c})


class LaneAddress(SharedComponent):
    """Addresses and mask of one channel lane.

        base = row + step.row, rotation = step.rotation          (direct: row, 0)
        address[b] = base + (b < rotation)                       for bank b, modulo the depth
        mask[p] = not (x_lo <= x[p] < x_hi and y_lo <= y[p] < y_hi)   (direct: 0)

    Free running, one step per cycle: `rotation` and `mask` have latency 1, `address` 2.

    Parameters
    ----------
    config : ArrayConfig

    Members
    -------
    step : In(config.step_lane_bits)
    row : In(config.row_bits)
    direct : In(1)
    x : In(config.pixels * config.coordinate_bits)
    y : In(config.pixels * config.coordinate_bits)
    rotation : Out(config.pixel_bits)
    mask : Out(config.pixels)
    address : Out(config.pixels * config.row_bits)
    """

    def __init__(self, *, config: ArrayConfig) -> None:
        self.config = config
        super().__init__({
            "step": In(config.step_lane_bits),
            "row": In(config.row_bits),
            "direct": In(1),
            "x": In(config.pixels * config.coordinate_bits),
            "y": In(config.pixels * config.coordinate_bits),
            "rotation": Out(config.pixel_bits),
            "mask": Out(config.pixels),
            "address": Out(config.pixels * config.row_bits),
        })

    @property
    def module_name(self) -> str:
        c = self.config
        return f"lane_address_{c.pixels}x{c.row_bits}x{c.coordinate_bits}"

    def model(self, step: dict[str, int], row: int, direct: bool, x: list[int], y: list[int]) -> dict[str, list[int]]:
        """Rotation (one number), mask and addresses of one step."""
        depth, lanes = 1 << self.config.row_bits, self.config.pixels
        if direct:
            return {"rotation": [0], "mask": [0] * lanes, "address": [row] * lanes}
        inside = [step["x_lo"] <= x[p] < step["x_hi"] and step["y_lo"] <= y[p] < step["y_hi"] for p in range(lanes)]
        banks = np.arange(lanes)
        address = (row + step["row"] + (banks < step["rotation"])) % depth
        return {"rotation": [step["rotation"]], "mask": [int(not ok) for ok in inside], "address": address.tolist()}

    def elaborate(self, platform):
        m = Module()
        config = self.config
        step = data.View(step_lane_layout(config), self.step)
        base, rotation, mask, address = (
            Signal(width, reset_less=True, name=name) for name, width in
            (("base", config.row_bits), ("rotation_q", config.pixel_bits), ("mask_q", config.pixels),
             ("address_q", config.pixels * config.row_bits)))
        m.d.sync += [
            base.eq(self.row + Mux(self.direct, 0, step.row)),
            rotation.eq(Mux(self.direct, 0, step.rotation)),
        ]
        m.d.comb += [self.rotation.eq(rotation), self.mask.eq(mask), self.address.eq(address)]
        for p in range(config.pixels):
            x = self.x.word_select(p, config.coordinate_bits)
            y = self.y.word_select(p, config.coordinate_bits)
            inside = (x >= step.x_lo) & (x < step.x_hi) & (y >= step.y_lo) & (y < step.y_hi)
            m.d.sync += mask[p].eq(~(inside | self.direct))
            m.d.sync += address.word_select(p, config.row_bits).eq(base + (p < rotation))
        return m


class AddressGenerator(wiring.Component):
    """One LaneAddress per channel lane, behind one register for the step memory's read.

    Latencies from the step: the step word must arrive with latency 1; `address` 3
    (ArrayConfig.address_latency), `rotation` and `mask` 2. In mask and address the pixel lane or bank
    is fastest.

    Parameters
    ----------
    config : ArrayConfig
    library : ModuleLibrary or None

    Members
    -------
    row : In(config.row_bits)
    direct : In(1)
    x : In(config.pixels * config.coordinate_bits)
    y : In(config.pixels * config.coordinate_bits)
    step_word : In(config.step_word_bits)
    rotation : Out(config.simd * config.pixel_bits)
    mask : Out(config.simd * config.pixels)
    address : Out(config.simd * config.pixels * config.row_bits)
    """

    def __init__(self, *, config: ArrayConfig, library: ModuleLibrary | None = None) -> None:
        self.config = config
        self.library = library
        super().__init__({
            "row": In(config.row_bits),
            "direct": In(1),
            "x": In(config.pixels * config.coordinate_bits),
            "y": In(config.pixels * config.coordinate_bits),
            "step_word": In(config.step_word_bits),
            "rotation": Out(config.simd * config.pixel_bits),
            "mask": Out(config.simd * config.pixels),
            "address": Out(config.simd * config.pixels * config.row_bits),
        })

    @property
    def latency(self) -> int:
        """Step to address."""
        return 3

    def elaborate(self, platform):
        m = Module()
        config = self.config
        row, direct, x, y = (Signal.like(s, reset_less=True) for s in (self.row, self.direct, self.x, self.y))
        m.d.sync += [row.eq(self.row), direct.eq(self.direct), x.eq(self.x), y.eq(self.y)]
        lanes = place(m, self.library, [f"lane{i}" for i in range(config.simd)], lambda: LaneAddress(config=config))
        for i, lane in enumerate(lanes):
            m.d.comb += [lane.step.eq(self.step_word.word_select(i, config.step_lane_bits)),
                         lane.row.eq(row), lane.direct.eq(direct), lane.x.eq(x), lane.y.eq(y)]
        m.d.comb += [self.rotation.eq(Cat(lane.rotation for lane in lanes)),
                     self.mask.eq(Cat(lane.mask for lane in lanes)),
                     self.address.eq(Cat(lane.address for lane in lanes))]
        return m
