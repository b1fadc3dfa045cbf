"""LanePosition against division with remainder."""

import pytest

from shifthw.arch import ArrayConfig
from shifthw.isa import InstructionLayout
from shifthw.rtl.lane_position import LanePosition, position_layout

from .harness import check_members, simulate, unpack

CONFIG = dict(simd=4, pe=4, coordinate_bits=8, feature_rows=512, max_stride=4)


def position(n: int, pitch: int, stride: tuple[int, int], out_pitch: int) -> dict[str, int]:
    """Position of the n-th pixel of an iteration space `pitch` wide."""
    y, x = divmod(n, pitch)
    return {"x": x, "y": y, "xq": x // stride[1], "xr": x % stride[1], "yb": y // stride[0] * out_pitch,
            "yr": y % stride[0]}


def instruction(config: ArrayConfig, pitch: int, stride: tuple[int, int], out_pitch: int) -> int:
    """The fields that LanePosition reads."""
    lines, x_step = divmod(config.pixels, pitch)
    (xq0, xr0), (xq1, xr1) = divmod(x_step, stride[1]), divmod(x_step - pitch, stride[1])
    (q0, yr0), (q1, yr1) = divmod(lines, stride[0]), divmod(lines + 1, stride[0])
    lanes = {f"lane{p}_{name}": value for p in range(config.pixels)
             for name, value in position(p, pitch, stride, out_pitch).items()}
    return InstructionLayout(config).encode(
        x_step=x_step, x_wrap=pitch, y_step=lines, xq0=xq0, xr0=xr0, xq1=xq1, xr1=xr1, yb0=q0 * out_pitch, yr0=yr0,
        yb1=q1 * out_pitch, yr1=yr1, out_pitch=out_pitch, stride_x=stride[1], stride_y=stride[0], **lanes)


@pytest.mark.parametrize("pixels", [2, 4, 8, 16])
@pytest.mark.parametrize(("pitch", "height"), [(1, 40), (2, 9), (3, 30), (7, 11), (8, 8), (9, 5), (33, 6), (100, 3)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (3, 3), (1, 2), (4, 1)])
def test_follows_every_pixel(pixels: int, pitch: int, height: int, stride: tuple[int, int]) -> None:
    config = ArrayConfig(pixels=pixels, **CONFIG)
    dut = LanePosition(config=config)
    check_members(dut)
    out_pitch = -(-pitch // stride[1])
    word = instruction(config, pitch, stride, out_pitch)
    tiles = -(-pitch * height // pixels)
    outputs = simulate(dut, [{"word": word, "load": 1}, {"load": 0, "advance": 1}], flush=tiles)
    layout = position_layout(config)
    for tile in range(tiles):
        lanes = unpack(int(outputs[tile + 1]["o"].as_bits()), layout.size, pixels)
        for p in range(pixels):
            got = {name: int(lanes[p]) >> field.offset & (1 << field.width) - 1 for name, field in layout}
            assert got == position(tile * pixels + p, pitch, stride, out_pitch), f"tile {tile}, lane {p}"
