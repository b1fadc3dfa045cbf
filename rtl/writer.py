"""The writer: results of a tile, and loaded images, into the feature memory."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from shifthw.arch import ArrayConfig, bits_for
from shifthw.isa import InstructionLayout


def token_layout(config: ArrayConfig) -> data.StructLayout:
    """Where the results of a tile go; travels beside the tile."""
    stride = InstructionLayout(config).fields["stride_x"].width
    lane = data.StructLayout({"valid": 1, "index": config.row_bits + config.pixel_bits, "xr": stride, "yr": stride})
    return data.StructLayout({
        "row": config.row_bits,
        "plane_rows": config.row_bits,
        "slot": bits_for(config.slots),
        "beats_last": bits_for(config.max_stride**2),
        "stride_x": stride,
        "lanes": data.ArrayLayout(lane, config.pixels),
    })


def select(values, index):
    """values[index] as a tree of 2:1 multiplexers, which maps to LUTs better than a table does."""
    for k in range(len(index)):
        values = [Mux(index[k], odd, even) for even, odd in zip(values[::2], values[1::2], strict=True)]
    return values[0]


class Writer(wiring.Component):
    """Writes each tile in beats, one per phase plane, and loaded rows in the cycles between.

    Beat j serves the pixel lanes whose (yr, xr) is plane j: lane p goes to bank index % pixels, row
    row + j*plane_rows + index // pixels. Results are taken when `conv_done` or `pool_done` is
    pulsed; the first beat is at the memory's port two cycles later. The next tile must not come
    before the beats are over. A loaded row is taken (load_ready) in any cycle without a beat.

    Vectors, fastest last: conv [image][pixel lane][output lane], pool [image][pixel lane][channel lane],
    load_data [pixel lane][channel], write_data [channel lane][bank][image].

    Parameters
    ----------
    config : ArrayConfig

    Members
    -------
    conv : In(words * config.pixels * config.pe)
    conv_done : In(1)
    conv_token : In(token_shape)
    pool : In(words * config.pixels * config.simd)
    pool_done : In(1)
    pool_token : In(token_shape)
    load_valid : In(1)
    load_ready : Out(1)
    load_row : In(config.row_bits)
    load_image : In(bits_for(config.images))
    load_data : In(config.pixels * config.input_channels * config.activation_bits)
    write_address : Out(config.pixels * config.row_bits)
    write_data : Out(words * config.simd * config.pixels)
    write_enable : Out(config.simd * config.pixels)
    write_images : Out(config.images)
    """

    def __init__(self, *, config: ArrayConfig) -> None:
        self.config = c = config
        self.words = words = c.images * c.activation_bits
        self.token_shape = token_layout(c)
        super().__init__({
            "conv": In(words * c.pixels * c.pe),
            "conv_done": In(1),
            "conv_token": In(self.token_shape),
            "pool": In(words * c.pixels * c.simd),
            "pool_done": In(1),
            "pool_token": In(self.token_shape),
            "load_valid": In(1),
            "load_ready": Out(1),
            "load_row": In(c.row_bits),
            "load_image": In(bits_for(c.images)),
            "load_data": In(c.pixels * c.input_channels * c.activation_bits),
            "write_address": Out(c.pixels * c.row_bits),
            "write_data": Out(words * c.simd * c.pixels),
            "write_enable": Out(c.simd * c.pixels),
            "write_images": Out(c.images),
        })

    @property
    def latency(self) -> int:
        """Done pulse to the first beat at the memory's port."""
        return 2

    def _result(self, vector, lanes, p, lane):
        """Code of every image of one pixel lane and output lane."""
        c = self.config
        return Cat(vector.word_select((b * c.pixels + p) * lanes + lane, c.activation_bits) for b in range(c.images))

    def _load_data(self, p, lane):
        c = self.config
        if lane >= c.simd // c.input_channels * c.input_channels:
            return Const(0, c.activation_bits * c.images)
        code = self.load_data.word_select(p * c.input_channels + lane % c.input_channels, c.activation_bits)
        return code.replicate(c.images)

    def elaborate(self, platform):
        m = Module()
        c = self.config
        width = c.images * c.activation_bits
        held_lanes = c.simd if c.max_pool else c.pe

        token = Signal(token_layout(c), reset_less=True)
        held = [[Signal(width, reset_less=True, name=f"held{p}_{n}") for n in range(held_lanes)] for p in range(c.pixels)]
        from_pool = Signal(reset_less=True)
        active = Signal()
        beat = Signal(bits_for(c.max_stride**2), reset_less=True)
        plane_x, plane_y = (Signal.like(token.stride_x, reset_less=True, name=n) for n in ("plane_x", "plane_y"))
        plane_row = Signal(c.row_bits, reset_less=True)

        with m.If(active):
            m.d.sync += [beat.eq(beat - 1), plane_row.eq(plane_row + token.plane_rows), plane_x.eq(plane_x + 1)]
            with m.If(plane_x + 1 == token.stride_x):
                m.d.sync += [plane_x.eq(0), plane_y.eq(plane_y + 1)]
            with m.If(beat == 0):
                m.d.sync += active.eq(0)

        def take(source, is_pool):
            m.d.sync += [token.eq(source), active.eq(1), beat.eq(source.beats_last), plane_row.eq(source.row),
                         plane_x.eq(0), plane_y.eq(0), from_pool.eq(is_pool)]

        with m.If(self.conv_done):
            take(self.conv_token, 0)
            m.d.sync += [held[p][n].eq(self._result(self.conv, c.pe, p, n % c.pe))
                         for p in range(c.pixels) for n in range(held_lanes)]
        if c.max_pool:
            with m.If(self.pool_done):
                take(self.pool_token, 1)
                m.d.sync += [held[p][n].eq(self._result(self.pool, c.simd, p, n))
                             for p in range(c.pixels) for n in range(held_lanes)]

        lane_enable = Signal(c.simd)
        m.d.comb += lane_enable.eq(Cat((token.slot == i // c.pe) | from_pool for i in range(c.simd)))
        m.d.comb += self.load_ready.eq(~active)

        address, images = Signal.like(self.write_address, reset_less=True), Signal.like(self.write_images, reset_less=True)
        enable = Signal.like(self.write_enable)
        m.d.sync += images.eq(Mux(active, ~0, 1 << self.load_image))
        m.d.comb += [self.write_address.eq(address), self.write_images.eq(images), self.write_enable.eq(enable)]
        written = [[Signal(width, reset_less=True, name=f"written{i}_{p}") for p in range(c.pixels)] for i in range(c.simd)]
        m.d.comb += self.write_data.eq(Cat(written))

        for bank in range(c.pixels):
            hits = Signal(c.pixels, name=f"hits{bank}")
            for p in range(c.pixels):
                lane = token.lanes[p]
                m.d.comb += hits[p].eq(lane.valid & (lane.index[:c.pixel_bits] == bank)
                                       & (lane.xr == plane_x) & (lane.yr == plane_y))
            source = Signal(c.pixel_bits, name=f"source{bank}")
            for k in range(c.pixel_bits):
                m.d.comb += source[k].eq(Cat(hits[p] for p in range(c.pixels) if p >> k & 1).any())
            row = select([token.lanes[p].index[c.pixel_bits:] for p in range(c.pixels)], source)
            m.d.sync += address.word_select(bank, c.row_bits).eq(Mux(active, plane_row + row, self.load_row))
            picked = [select([held[p][n] for p in range(c.pixels)], source) for n in range(held_lanes)]
            for i in range(c.simd):
                m.d.sync += [
                    written[i][bank].eq(Mux(active, picked[i % held_lanes], self._load_data(bank, i))),
                    enable[i * c.pixels + bank].eq(Mux(active, hits.any() & lane_enable[i], self.load_valid)),
                ]
        return m
