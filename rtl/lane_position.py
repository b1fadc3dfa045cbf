"""Where the pixel lanes stand in the map, tile after tile."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from shifthw.arch import ArrayConfig
from shifthw.isa import LANE_FIELDS, InstructionLayout


def position_layout(config: ArrayConfig) -> data.StructLayout:
    """Position of one pixel lane: (y, x), and (y, x) split into phase plane and pixel within it."""
    fields = InstructionLayout(config).fields
    return data.StructLayout({name: fields[f"lane0_{name}"].width for name in LANE_FIELDS})


class LanePosition(wiring.Component):
    """Positions of the P pixel lanes: `load` takes the first tile's, `advance` goes one tile on.

        x' = x + x_step; wrap = x' >= x_wrap; if wrap: x' -= x_wrap
        y' = y + y_step + wrap
        xq', xr' = carry(xq + xq[wrap], xr + xr[wrap], stride_x, 1)
        yb', yr' = carry(yb + yb[wrap], yr + yr[wrap], stride_y, out_pitch)
        carry(q, r, s, unit) = (q + unit, r - s) if r >= s else (q, r)

    `word` is the instruction that runs. Latency 1; `load` wins over `advance`.

    Parameters
    ----------
    config : ArrayConfig

    Members
    -------
    word : In(layout.width)
    load : In(1)
    advance : In(1)
    o : Out(position_shape)
    """

    def __init__(self, *, config: ArrayConfig) -> None:
        self.config = config
        self.layout = InstructionLayout(config)
        self.position_shape = data.ArrayLayout(position_layout(config), config.pixels)
        super().__init__({
            "word": In(self.layout.width),
            "load": In(1),
            "advance": In(1),
            "o": Out(self.position_shape),
        })

    @property
    def latency(self) -> int:
        """load or advance to `o`."""
        return 1

    def elaborate(self, platform):
        m = Module()

        def field(name):
            f = self.layout.fields[name]
            bits = self.word[f.offset:f.offset + f.width]
            return bits.as_signed() if f.signed else bits

        for p in range(self.config.pixels):
            now = Signal(position_layout(self.config), reset_less=True, name=f"position{p}")
            m.d.comb += self.o[p].eq(now)
            moved_x = Signal(self.config.coordinate_bits + 1, name=f"moved_x{p}")
            wrap = Signal(name=f"wrap{p}")
            m.d.comb += [moved_x.eq(now.x + field("x_step")), wrap.eq(moved_x >= field("x_wrap"))]
            xr = now.xr + Mux(wrap, field("xr1"), field("xr0"))
            yr = now.yr + Mux(wrap, field("yr1"), field("yr0"))
            x_carry = Signal(name=f"x_carry{p}")
            y_carry = Signal(name=f"y_carry{p}")
            m.d.comb += [x_carry.eq(xr >= field("stride_x")), y_carry.eq(yr >= field("stride_y"))]
            with m.If(self.load):
                m.d.sync += [now[name].eq(field(f"lane{p}_{name}")) for name in LANE_FIELDS]
            with m.Elif(self.advance):
                m.d.sync += [
                    now.x.eq(Mux(wrap, moved_x - field("x_wrap"), moved_x)),
                    now.y.eq(now.y + field("y_step") + wrap),
                    now.xq.eq(now.xq + Mux(wrap, field("xq1"), field("xq0")) + x_carry),
                    now.xr.eq(Mux(x_carry, xr - field("stride_x"), xr)),
                    now.yb.eq(now.yb + Mux(wrap, field("yb1"), field("yb0")) + Mux(y_carry, field("out_pitch"), 0)),
                    now.yr.eq(Mux(y_carry, yr - field("stride_y"), yr)),
                ]
        return m
