"""The tile loop of the emulator: CONV and POOL on the decoded memories of an engine."""

import numpy as np
import torch

from .isa import InstructionLayout, Opcode
from .program import Program

_CHUNK = 1 << 22
"""Operands that are gathered at once."""
NEVER = -(1 << 40)
"""Before all cycles."""


class EmulationError(Exception):
    """The program breaks the engine's contract: a fault of the compiler, not of the user."""


def unpack_words(words: np.ndarray, widths: list[int], signed: list[bool]) -> np.ndarray:
    """The bit fields of memory words: int64[words, fields]."""
    bits = np.unpackbits(words, axis=1, bitorder="little").astype(np.int64)
    fields = np.zeros((len(words), len(widths)), np.int64)
    offset = 0
    for i, (width, negative) in enumerate(zip(widths, signed, strict=True)):
        for bit in range(width):
            weight = -(1 << bit) if negative and bit == width - 1 else 1 << bit
            fields[:, i] += bits[:, offset + bit] * weight
        offset += width
    return fields


class EngineState:
    """The memories of one engine, decoded, and when its ports were last used."""

    def __init__(self, program: Program) -> None:
        self.program = program
        c = self.config = program.config
        layout = InstructionLayout(c)
        self.instructions = [layout.decode(word) for word in program.instructions]
        lane = [c.row_bits, c.pixel_bits, *[c.coordinate_bits] * 4]
        self.steps = _unpack(program.step_words, lane, [False] * 6, c.simd)
        self.codes = _unpack(program.weight_words, [c.code_bits], [False], c.pe * c.simd).reshape(-1, c.pe, c.simd)
        self.starts = _unpack(program.start_words, [c.accumulator_bits], [False], c.pe)[..., 0]
        scale = _unpack(program.scale_words, [c.multiplier_bits, c.bias_bits], [True, True], c.pe)
        self.multipliers = scale[..., 0] if c.multiplier_bits else np.ones_like(scale[..., 0])
        self.biases = scale[..., 1]
        shape = (c.feature_rows, c.pixels, c.simd)
        self.tables = _tables(program)
        self.table: int | None = None
        """Number of the table that is loaded."""
        self.last_lookup = self.table_loaded = NEVER
        """When the last result was looked up, and the last entry of the table was written."""
        self.memory = np.zeros((*shape, c.images), np.int64)
        self.landed = np.full(shape, NEVER)
        self.written = np.zeros(shape, bool)
        self.last_write = self.last_read = NEVER

    def shift_weights(self, words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What codes mean outside of adder layers: weights and lane constants, int64[*words.shape, pe, simd] each."""
        c, codes = self.config, self.codes[words]
        if not c.exponent_levels:
            top = (1 << c.activation_bits) - 1
            if ((codes != 0) & (codes != top)).any():
                raise EmulationError("weight memory: a code is neither the least nor the largest operand")
            return 2 * (codes // top), np.zeros_like(codes)
        exponent, negative = codes & ((1 << c.exponent_bits) - 1), codes >> c.exponent_bits
        if (exponent > c.exponent_levels - (not c.zero_weights)).any() or (negative > 1).any() or (
                negative[exponent == c.exponent_levels] != 0).any():
            raise EmulationError("weight memory: a code has no meaning")
        sign = np.where(exponent == c.exponent_levels, 0, 1 - 2 * negative)
        return sign << np.where(sign == 0, 0, exponent), negative * ((1 << c.lane_bits) - 1)

    def restart(self) -> None:
        """Before a run: nothing is on its way."""
        self.landed[:] = NEVER
        self.last_write = self.last_read = self.last_lookup = self.table_loaded = NEVER
        self.table = None

    def looked_up(self, codes: np.ndarray, target: str) -> np.ndarray:
        """Codes behind the table that is loaded."""
        if self.table is None:
            raise EmulationError(f"{target}: looks up results in a table, of which none is loaded")
        return self.tables[self.table][codes]

    def load_table(self, number: int, first: int) -> int:
        """A TABLE whose first cycle is `first`; its cycles."""
        if not 0 <= number < len(self.tables):
            raise EmulationError(f"table {number} is not in table memory")
        begin = first + self.config.table_load_latency
        if begin <= self.last_lookup:
            raise EmulationError(f"cycle {first}: TABLE changes a table that results are looked up in")
        self.table, self.table_loaded = number, begin + self.config.table_words - 1
        return self.config.table_words


def _tables(program: Program) -> np.ndarray:
    """Code behind each code, of every table: int64[tables, 2**activation_bits]."""
    c = program.config
    if not c.tables:
        return np.zeros((0, 1 << c.activation_bits), np.int64)
    entries = _unpack(program.table_words, [c.activation_bits], [False], 4)[..., 0]
    return entries.reshape(c.tables, c.table_words, 4).transpose(0, 2, 1).reshape(c.tables, -1)


def _unpack(words: np.ndarray, widths: list[int], signed: list[bool], repeat: int) -> np.ndarray:
    return unpack_words(words, widths * repeat, signed * repeat).reshape(len(words), repeat, len(widths))


class TileLoop:
    """A CONV or POOL with the decoded fields `f`, whose first step is in cycle `first`."""

    def __init__(self, engine: EngineState, f: dict[str, int], first: int, target: str) -> None:
        self.e, self.c, self.f, self.first, self.target = engine, engine.config, f, first, target
        c = self.c
        self.pool = f["opcode"] == Opcode.POOL
        self.tiles, self.out_groups = f["tiles_last"] + 1, f["out_groups_last"] + 1
        self.taps, self.in_groups, self.terms = f["taps_last"] + 1, f["in_groups_last"] + 1, f["terms_last"] + 1
        self.steps = self.taps * self.in_groups * self.terms
        self.slots = 1 if self.pool else c.slots
        self.last = self.steps + (c.pixels - 1 if f["reduce"] else 0) - 1
        self.duration = self.last + 1 + f["residual"] + f["idle"]
        need = max(f["beats_last"] + 1, c.residual_period if f["residual"] else 0)
        if self.duration < need:
            raise EmulationError(f"{target}: a tile takes {self.duration} cycles, at least {need} are needed")
        if not self.pool and c.residual and not c.multiplier_bits and not f["residual"]:
            raise EmulationError(f"{target}: without multipliers every layer must have a residual, or none")
        self.sign_flip = (1 << (c.activation_bits - 1)) if f["in_signed"] else 0

    def run(self) -> int:
        """Execute; the cycles of all tiles."""
        self._walk()
        advance = self.f["in_advance"]
        blocks = range(0, self.out_groups, self.slots) if advance else [0]
        if self.pool and not advance:
            raise EmulationError(f"{self.target}: POOL without in_advance")
        for og in blocks:
            groups = range(og, min(og + self.slots, self.out_groups) if advance else self.out_groups)
            chunk = max(1, _CHUNK // (self.c.pixels * self.c.simd * self.c.images * self.taps * self.in_groups))
            for t in range(0, self.tiles, chunk):
                tiles = np.arange(t, min(t + chunk, self.tiles))
                if self.pool:
                    self._write(og, tiles, self._maxima(og, tiles))
                else:
                    self._conv(groups, tiles)
        self._landings()
        return self.out_groups * self.tiles * self.duration

    # -- positions -----------------------------------------------------------------------------
    def _walk(self) -> None:
        """Positions of all tiles, advanced as the sequencer does: x, y, row of the plane, bank, plane."""
        f, c = self.f, self.c
        x, y, xq, xr, yb, yr = (np.array([f[f"lane{p}_{name}"] for p in range(c.pixels)])
                                for name in ("x", "y", "xq", "xr", "yb", "yr"))
        walked = []
        for _ in range(self.tiles):
            walked.append((x, y, xq, xr, yb, yr))
            wrap = x + f["x_step"] >= f["x_wrap"]
            x = x + f["x_step"] - wrap * f["x_wrap"]
            y = y + f["y_step"] + wrap
            xr = xr + np.where(wrap, f["xr1"], f["xr0"])
            carry = xr >= f["stride_x"]
            xq, xr = xq + np.where(wrap, f["xq1"], f["xq0"]) + carry, xr - carry * f["stride_x"]
            yr = yr + np.where(wrap, f["yr1"], f["yr0"])
            carry = yr >= f["stride_y"]
            yb, yr = yb + np.where(wrap, f["yb1"], f["yb0"]) + carry * f["out_pitch"], yr - carry * f["stride_y"]
        self.x, self.y, xq, xr, yb, yr = np.array(walked).transpose(1, 0, 2)
        if max(self.x.max(), self.y.max()) >> c.coordinate_bits:
            raise EmulationError(f"{self.target}: a position leaves the range of coordinates")
        self.inside = (self.x < f["out_width"]) & (self.y < f["out_height"])
        index = (yb + xq) % (1 << (c.row_bits + c.pixel_bits))
        self.plane = yr * f["stride_x"] + xr
        self.out_rows = f["out_row"] + self.plane * f["plane_rows"] + index // c.pixels
        self.out_banks = index % c.pixels
        cells = np.where(self.inside, self.plane * c.pixels + self.out_banks, -1 - np.arange(c.pixels))
        cells.sort(axis=1)
        if (cells[:, 1:] == cells[:, :-1]).any():
            raise EmulationError(f"{self.target}: a write beat addresses one bank twice")
        if (self.inside & (self.plane > f["beats_last"])).any():
            raise EmulationError(f"{self.target}: a plane has no write beat")

    # -- reading -------------------------------------------------------------------------------
    def _operands(self, og: int, tiles: np.ndarray, tap: int, g: int, needed: np.ndarray) -> np.ndarray:
        """The lanes' unsigned operands of a step: int64[tiles, pixels, simd, images]."""
        f, c = self.f, self.c
        row, rotation, x_lo, x_hi, y_lo, y_hi = self.e.steps[f["step_base"] + tap].T
        group = og // self.slots if f["in_advance"] else g
        bank = np.arange(c.pixels)[:, None] + rotation
        rows = f["in_row"] + tiles[:, None, None] + group * f["in_group_stride"] + row + bank // c.pixels
        rows = rows % (1 << c.row_bits)
        bank = bank % c.pixels
        x, y = self.x[tiles][:, :, None], self.y[tiles][:, :, None]
        seen = (x_lo <= x) & (x < x_hi) & (y_lo <= y) & (y < y_hi)
        if (rows[seen] >= c.feature_rows).any():
            raise EmulationError(f"{self.target}: reads a row beyond the feature memory")
        rows = np.where(seen, rows, 0)
        lane = np.arange(c.simd)
        cycle = self.first + (og * self.tiles + tiles) * self.duration
        cycle = cycle + (tap * self.in_groups + g) * self.terms
        self._check(seen & needed, rows, bank, lane, cycle[:, None, None])
        codes = self.e.memory[rows, bank, lane] ^ self.sign_flip
        masked = 0 if self.pool or not f["mask_high"] else 1 << (c.activation_bits - 1)
        return np.where(seen[..., None], codes, masked)

    def _check(self, seen: np.ndarray, rows: np.ndarray, bank: np.ndarray, lane: np.ndarray,
               cycle: np.ndarray) -> None:
        """No operand that counts may be on its way or never written."""
        stale = seen & (self.e.landed[rows, bank, lane] >= cycle + self.c.address_latency)
        if stale.any():
            t, p, i = np.argwhere(stale)[0]
            raise EmulationError(f"{self.target}: tile {t}, pixel lane {p}, channel lane {i} reads data on its way")
        if (seen & ~self.e.written[rows, bank, lane]).any():
            raise EmulationError(f"{self.target}: reads data that nobody wrote")

    # -- computing -----------------------------------------------------------------------------
    def _maxima(self, og: int, tiles: np.ndarray) -> np.ndarray:
        best = np.zeros(0, np.int64)
        wanted = self._occupied(og)
        for tap in range(self.taps):
            u = self._operands(og, tiles, tap, 0, wanted)
            best = np.maximum(best, u) if tap else u
        return best ^ self.sign_flip

    def _conv(self, groups: range, tiles: np.ndarray) -> None:
        """All output groups of the range on these tiles."""
        c, f = self.c, self.f
        words = f["weight_base"] + np.array(groups)[:, None] * f["weight_stride"] + self._word_index()
        sums = self._distances if f["adder"] else self._products
        acc = sums(groups[0], tiles, words).reshape(len(tiles), c.pixels, c.images, len(groups), c.pe)
        acc += self.e.starts[f["scale_base"] + np.array(groups)]
        if f["reduce"]:
            self._check_zero_words(groups)
            acc = np.broadcast_to(acc.sum(axis=1, keepdims=True), acc.shape)
        for k, og in enumerate(groups):
            self._finish(og, tiles, acc[:, :, :, k])

    def _products(self, first: int, tiles: np.ndarray, words: np.ndarray) -> np.ndarray:
        """Sums of the lanes of all steps: int64[tiles * pixels * images, groups * pe]."""
        c = self.c
        weights, constants = self.e.shift_weights(words)
        weights = weights.reshape(len(words), self.taps, self.in_groups, self.terms, c.pe, c.simd)
        summed = weights.sum(axis=3).transpose(1, 2, 4, 0, 3).reshape(self.taps, self.in_groups, c.simd, -1)
        used = (weights != 0).any(axis=(0, 3, 4))
        acc = np.zeros((len(tiles) * c.pixels * c.images, len(words) * c.pe), np.int64)
        for tap in range(self.taps):
            for g in range(self.in_groups):
                u = self._operands(first, tiles, tap, g, used[tap, g])
                acc += _product(u.transpose(0, 1, 3, 2).reshape(-1, c.simd), summed[tap, g])
        return acc + constants.sum(axis=(1, 3)).reshape(-1)

    def _distances(self, first: int, tiles: np.ndarray, words: np.ndarray) -> np.ndarray:
        """Sums of 2 min(u, k) - u = k - |u - k| over all steps: int64[tiles * pixels * images, groups * pe]."""
        c = self.c
        codes = self.e.codes[words].reshape(len(words), self.taps, self.in_groups, self.terms, c.pe, c.simd)
        codes = codes.transpose(1, 2, 0, 4, 3, 5).reshape(self.taps, self.in_groups, -1, self.terms, c.simd)
        unused = (codes == np.array([(1 << c.activation_bits) - 1, 0])[:, None]).all(axis=3) if self.terms == 2 else \
            np.zeros(codes.shape[:3] + codes.shape[4:], bool)
        acc = np.broadcast_to(codes.sum(axis=(0, 1, 3, 4)), (len(tiles) * c.pixels * c.images, codes.shape[2])).copy()
        for tap in range(self.taps):
            for g in range(self.in_groups):
                u = self._operands(first, tiles, tap, g, ~unused[tap, g].all(axis=0))
                u = u.transpose(0, 1, 3, 2).reshape(-1, c.simd)
                for term in range(self.terms):
                    acc -= _distance(u, codes[tap, g, :, term])
        return acc

    def _word_index(self) -> np.ndarray:
        return np.zeros(self.steps, np.int64) if self.f["weight_hold"] else np.arange(self.steps)

    def _check_zero_words(self, groups: range) -> None:
        base = self.f["weight_base"] + np.array(groups) * self.f["weight_stride"]
        words = base + (1 if self.f["weight_hold"] else self.steps)
        if any(values.any() for values in self.e.shift_weights(words)):
            raise EmulationError(f"{self.target}: the weights of reduce steps are not 0")

    def _finish(self, og: int, tiles: np.ndarray, acc: np.ndarray) -> None:
        """Requantize and write accumulators int64[tiles, pixels, images, pe]."""
        c, f = self.c, self.f
        low = og % self.slots * c.pe
        modulus = 1 << c.accumulator_bits
        acc = acc % modulus
        acc = np.where(acc >= modulus // 2, acc - modulus, acc)
        m, b = self.e.multipliers[f["scale_base"] + og], self.e.biases[f["scale_base"] + og]
        operand = max(c.accumulator_bits, c.activation_bits + c.residual_shift)
        number = "object" if operand + max(1, c.multiplier_bits) > 61 or c.bias_bits > 61 else "int64"
        if f["product"]:
            total = acc.astype(number) * self._factors(og, tiles, low).astype(number) + b.astype(number)
        else:
            total = acc.astype(number) * m + b.astype(number)
        if f["residual"] and not f["product"]:
            mr = (f["residual_multiplier"] if c.multiplier_bits else 1) << c.residual_shift
            total = total + self._residuals(og, tiles, low).astype(number) * mr
        shift = c.shifts[f["shift_select"]]
        shifted = total >> shift
        if f["ties_to_even"] and shift:
            shifted = np.where(total & ((1 << shift) - 1) == 0, shifted & ~1, shifted)
        codes = np.clip(shifted, f["clamp_lo"], f["clamp_hi"]).astype(np.int64) & ((1 << c.activation_bits) - 1)
        if f["lookup"]:
            codes = self.e.looked_up(codes, self.target)
        self._write(og, tiles, codes.transpose(0, 1, 3, 2), low)

    def _factors(self, og: int, tiles: np.ndarray, low: int) -> np.ndarray:
        """What a product multiplies the accumulators with: int64[tiles, pixels, images, pe]."""
        c, f = self.c, self.f
        flip = (1 << (c.activation_bits - 1)) if f["residual_signed"] else 0
        factor = (self._residuals(og, tiles, low) - flip) * f["residual_multiplier"]
        limit = 1 << (c.multiplier_bits - 1)
        seen = self.inside[tiles][:, :, None, None] & self._occupied(og)[low + np.arange(c.pe)]
        if (seen & ((factor < -limit) | (factor >= limit))).any():
            raise EmulationError(f"{self.target}: a factor needs more than {c.multiplier_bits} bits")
        return factor

    def _residuals(self, og: int, tiles: np.ndarray, low: int) -> np.ndarray:
        """Residual operands, unsigned: int64[tiles, pixels, images, pe]."""
        c, f = self.c, self.f
        rows = f["residual_row"] + tiles * (1 - f["broadcast"]) + og // self.slots * f["residual_group_stride"]
        where = np.broadcast_to(rows[:, None, None], (len(tiles), c.pixels, c.pe))
        lane = low + np.arange(c.pe)
        bank = np.arange(c.pixels)[:, None] * (1 - f["broadcast"])
        cycle = self.first + (og * self.tiles + tiles) * self.duration + self.last + 1
        wanted = self._occupied(og)[lane]
        self._check(self.inside[tiles][:, :, None] & wanted, where, bank, lane, cycle[:, None, None])
        codes = self.e.memory[where, bank, lane]
        flip = (1 << (c.activation_bits - 1)) if f["residual_signed"] else 0
        return (codes ^ flip).transpose(0, 1, 3, 2)

    def _occupied(self, og: int) -> np.ndarray:
        """Channel lanes that hold a channel of the output: bool[simd]."""
        tensor = self.e.program.tensors[self.target]
        group = (self.f["out_row"] - tensor.row) // tensor.group_rows + og // self.slots
        return tensor.order[group * self.c.simd:(group + 1) * self.c.simd] >= 0

    # -- writing -------------------------------------------------------------------------------
    def _write(self, og: int, tiles: np.ndarray, codes: np.ndarray, low: int = 0) -> None:
        """Codes int64[tiles, pixels, lanes, images] of one output group into lanes low ..."""
        inside = self.inside[tiles]
        rows = self.out_rows[tiles][inside] + og // self.slots * self.f["out_group_stride"]
        if len(rows) and rows.max() >= self.c.feature_rows:
            raise EmulationError(f"{self.target}: writes a row beyond the feature memory")
        banks = self.out_banks[tiles][inside]
        lanes = slice(low, low + codes.shape[2])
        self.e.memory[rows, banks, lanes] = codes[inside]
        self.e.written[rows, banks, lanes] = True

    def _landings(self) -> None:
        """When each write is at the port; the write port takes them in the order of the program."""
        c, f = self.c, self.f
        latency = c.write_latency(self.pool)
        begin = self.first + self.last + latency
        if begin <= self.e.last_write:
            raise EmulationError(f"{self.target}: its writes meet those of the instruction before")
        count = self.out_groups * self.tiles
        if f["lookup"]:
            look = self.first + self.last + c.code_latency
            if look < self.e.table_loaded:
                raise EmulationError(f"{self.target}: looks up results before its table is loaded")
            self.e.last_lookup = look + (count - 1) * self.duration
        self.e.last_write = begin + (count - 1) * self.duration + f["beats_last"]
        self.e.last_read = self.first + count * self.duration - 1
        for og in range(self.out_groups):
            low = og % self.slots * c.pe
            lanes = slice(low, low + (c.simd if self.pool else c.pe))
            when = begin + (og * self.tiles + np.arange(self.tiles))[:, None] * self.duration + self.plane
            rows = self.out_rows + og // self.slots * f["out_group_stride"]
            self.e.landed[rows[self.inside], self.out_banks[self.inside], lanes] = when[self.inside][:, None]


def _product(operands: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Exact integer matrix product; through float64 where every partial sum is below 2**53."""
    bound = int(operands.max(initial=0)) * int(np.abs(weights).sum(axis=0).max(initial=0))
    if bound < 1 << 53:
        return (operands.astype(np.float64) @ weights.astype(np.float64)).astype(np.int64)
    return operands @ weights


def _distance(operands: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """sum |u - k| over the lanes of operands [n, simd] and codes [outputs, simd]: int64[n, outputs], below 2**53."""
    return torch.cdist(torch.from_numpy(operands).double(), torch.from_numpy(codes).double(), p=1).long().numpy()
