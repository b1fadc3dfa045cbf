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
        self.held_lanes = c.simd if c.max_pool else c.pe
        self.token = Signal(self.token_shape, reset_less=True)
        self.held = [[Signal(self.words, reset_less=True, name=f"held{p}_{n}") for n in range(self.held_lanes)]
                     for p in range(c.pixels)]
        self.from_pool = Signal(reset_less=True)
        self.active = Signal()
        self.plane_x, self.plane_y = (Signal.like(self.token.stride_x, reset_less=True, name=name)
                                      for name in ("plane_x", "plane_y"))
        self.plane_row = Signal(c.row_bits, reset_less=True)
        self._beats(m)
        self._results(m)
        self._port(m)
        return m

    def _beats(self, m):
        """Goes through the planes of the tile that is held."""
        token = self.token
        self.beat = beat = Signal.like(token.beats_last, reset_less=True)
        with m.If(self.active):
            m.d.sync += [beat.eq(beat - 1), self.plane_row.eq(self.plane_row + token.plane_rows),
                         self.plane_x.eq(self.plane_x + 1)]
            with m.If(self.plane_x + 1 == token.stride_x):
                m.d.sync += [self.plane_x.eq(0), self.plane_y.eq(self.plane_y + 1)]
            with m.If(beat == 0):
                m.d.sync += self.active.eq(0)

    def _results(self, m):
        """Takes the results of a tile."""
        c = self.config
        sources = [(self.conv_done, self.conv_token, self.conv, c.pe, 0)]
        if c.max_pool:
            sources.append((self.pool_done, self.pool_token, self.pool, c.simd, 1))
        for done, token, vector, lanes, from_pool in sources:
            with m.If(done):
                m.d.sync += [
                    self.token.eq(token), self.active.eq(1), self.beat.eq(token.beats_last),
                    self.plane_row.eq(token.row), self.plane_x.eq(0), self.plane_y.eq(0),
                    self.from_pool.eq(from_pool),
                ]
                m.d.sync += [self.held[p][n].eq(self._result(vector, lanes, p, n % lanes))
                             for p in range(c.pixels) for n in range(self.held_lanes)]

    def _port(self, m):
        """The memory's write port: a beat, or else a loaded row."""
        c = self.config
        address = Signal.like(self.write_address, reset_less=True)
        images = Signal.like(self.write_images, reset_less=True)
        enable = Signal.like(self.write_enable)
        written = [[Signal(self.words, reset_less=True, name=f"written{i}_{p}") for p in range(c.pixels)]
                   for i in range(c.simd)]
        m.d.sync += images.eq(Mux(self.active, ~0, 1 << self.load_image))
        m.d.comb += [self.load_ready.eq(~self.active), self.write_address.eq(address),
                     self.write_images.eq(images), self.write_enable.eq(enable),
                     self.write_data.eq(Cat(written))]
        lane_enable = Signal(c.simd)
        m.d.comb += lane_enable.eq(Cat((self.token.slot == i // c.pe) | self.from_pool for i in range(c.simd)))

        for bank in range(c.pixels):
            hit, source = self._source(m, bank)
            row = select([lane.index[c.pixel_bits:] for lane in self._lanes()], source)
            picked = [select([self.held[p][n] for p in range(c.pixels)], source) for n in range(self.held_lanes)]
            m.d.sync += address.word_select(bank, c.row_bits).eq(
                Mux(self.active, self.plane_row + row, self.load_row))
            for i in range(c.simd):
                m.d.sync += [
                    written[i][bank].eq(Mux(self.active, picked[i % self.held_lanes], self._load_data(bank, i))),
                    enable[i * c.pixels + bank].eq(Mux(self.active, hit & lane_enable[i], self.load_valid)),
                ]

    def _source(self, m, bank):
        """Whether a pixel lane of this beat goes to the bank, and which."""
        c = self.config
        hits = Signal(c.pixels, name=f"hits{bank}")
        m.d.comb += hits.eq(Cat(
            lane.valid & (lane.index[:c.pixel_bits] == bank) & (lane.xr == self.plane_x) & (lane.yr == self.plane_y)
            for lane in self._lanes()))
        source = Signal(c.pixel_bits, name=f"source{bank}")
        m.d.comb += source.eq(Cat(Cat(hits[p] for p in range(c.pixels) if p >> k & 1).any()
                                  for k in range(c.pixel_bits)))
        return hits.any(), source

    def _lanes(self):
        return [self.token.lanes[p] for p in range(self.config.pixels)]
