"""ArrayConfig: the one description of an engine from which everything about it is derived."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass

from .errors import DoesNotFit

LATER_FIELDS = ("ties_to_even", "adder", "product", "tables", "residual_delay")
"""Fields of ArrayConfig that are off in engines older than they are."""


def bits_for(count: int) -> int:
    """Bits that number `count` things (at least 1)."""
    return max(1, (count - 1).bit_length())


def _power_of_two(value: int) -> bool:
    return value >= 1 and value & (value - 1) == 0


@dataclass(frozen=True, kw_only=True)
class ArrayConfig:
    """Parameters of one generated engine. `images x pixels x simd x pe` lanes.

    The first four may be chosen by the user; the compiler derives the rest from the model.
    """

    images: int = 1
    """Images in lockstep: 1..16."""
    pixels: int = 8
    """Consecutive pixels in parallel: a power of two, 2..64."""
    simd: int = 16
    """Input channels in parallel: a power of two, 2..128."""
    pe: int = 16
    """Output channels in parallel: a power of two that divides simd."""
    activation_bits: int = 8
    """Bits of a stored activation, 2..32."""
    exponent_levels: int = 8
    """Weights shift by 0..exponent_levels-1. 0 (with `adder`): nothing shifts, every lane is twice a minimum."""
    adder: bool = False
    """Whether the lanes can compare: adder layers. Then exponent_levels is not 1."""
    zero_weights: bool = True
    """Whether a weight code for 0 exists."""
    accumulator_bits: int = 24
    multiplier_bits: int = 18
    """Bits of the signed requantize multipliers; 0: every multiplier is 1 and there is no multiplier."""
    bias_bits: int = 40
    shifts: tuple[int, ...] = (16,)
    """The right shifts that requantize offers, ascending."""
    residual: bool = False
    """Whether requantize has a second operand."""
    product: bool = False
    """Whether the second operand can be multiplied with the accumulator, and can be one pixel's for a whole map."""
    residual_shift: int = 0
    """Fixed left shift of the second operand: its multipliers are multiples of 2**residual_shift."""
    residual_delay: bool = False
    """Whether second operands wait for their accumulators in delay lines, not in a register that holds one of them."""
    ties_to_even: bool = False
    """Whether a layer's requantize can round ties to the even number."""
    tables: int = 0
    """Tables of activation functions that a layer's results can pass; with any, activation_bits is 3..8."""
    max_pool: bool = False
    """Whether there is a maximum unit."""
    lane_sum: bool = False
    """Whether the accumulators of the pixel lanes can be added up (global pooling)."""
    feature_rows: int = 512
    weight_words: int = 1024
    step_words: int = 64
    scale_words: int = 64
    instruction_words: int = 64
    coordinate_bits: int = 7
    """Bits of a pixel coordinate, room for one tile's overshoot included."""
    max_stride: int = 1
    """Largest stride that a written tensor is laid out for."""
    input_channels: int = 4
    """Channels of a pixel on the wire of an image load; fewer than simd: replicated over the channel lanes."""
    output_pixels: int = 1
    """Pixel lanes that a store sends: 1 (the results are 1x1 maps) or all of them."""
    axi_data_bits: int = 64

    def __post_init__(self) -> None:
        def require(ok: bool, field: str, what: str) -> None:
            if not ok:
                raise DoesNotFit(f"array: {field} must be {what}, not {getattr(self, field)}")

        require(1 <= self.images <= 16, "images", "1..16")
        require(_power_of_two(self.pixels) and 2 <= self.pixels <= 64, "pixels", "a power of two, 2..64")
        require(_power_of_two(self.simd) and 2 <= self.simd <= 128, "simd", "a power of two, 2..128")
        require(_power_of_two(self.pe) and self.pe <= self.simd, "pe", f"a power of two up to simd={self.simd}")
        require(2 <= self.activation_bits <= 32, "activation_bits", "2..32")
        if self.adder:
            require(self.exponent_levels != 1 and 0 <= self.exponent_levels <= 16, "exponent_levels",
                    "0 or 2..16 with adder lanes")
        else:
            require(1 <= self.exponent_levels <= 16, "exponent_levels", "1..16")
        require(not self.product or self.residual and self.multiplier_bits > 0, "product",
                "off without a residual and multipliers")
        require(self.residual or not self.residual_delay, "residual_delay", "off without a residual")
        require(self.tables == 0 or 3 <= self.activation_bits <= 8, "activation_bits", "3..8 with tables")
        require(self.output_pixels in (1, self.pixels), "output_pixels", f"1 or pixels={self.pixels}")
        require(1 <= self.input_channels <= self.simd, "input_channels", f"1..simd={self.simd}")
        require(self.axi_data_bits in (32, 64, 128), "axi_data_bits", "32, 64 or 128")

    # -- sizes ---------------------------------------------------------------------------------
    @property
    def lanes(self) -> int:
        """Shift lanes of the whole array."""
        return self.images * self.pixels * self.simd * self.pe

    @property
    def pixel_bits(self) -> int:
        """log2(pixels)."""
        return self.pixels.bit_length() - 1

    @property
    def slots(self) -> int:
        """Output groups that share one channel group: simd / pe."""
        return self.simd // self.pe

    @property
    def exponent_bits(self) -> int:
        """0 where nothing shifts."""
        return bits_for(self.exponent_levels + self.zero_weights) if self.exponent_levels else 0

    @property
    def code_bits(self) -> int:
        """Bits of a weight code.

        Shift layers: exponent (low bits) and sign; exponent == exponent_levels means 0. Adder layers: the weight as
        an operand, activation_bits.
        """
        shift = self.exponent_bits + 1 if self.exponent_levels else 0
        return max(shift, self.activation_bits * self.adder)

    @property
    def lane_bits(self) -> int:
        """Bits of what a lane yields."""
        return self.activation_bits + max(self.exponent_levels - 1, int(self.adder))

    @property
    def row_bits(self) -> int:
        return bits_for(self.feature_rows)

    @property
    def shift_select_bits(self) -> int:
        return bits_for(len(self.shifts))

    @property
    def wire_bits(self) -> int:
        """Bits of one activation in DRAM: 8, 16 or 32."""
        return next(bits for bits in (8, 16, 32) if bits >= self.activation_bits)

    # -- memory words --------------------------------------------------------------------------
    @property
    def weight_word_bits(self) -> int:
        """codes[pe][simd], simd fastest."""
        return self.pe * self.simd * self.code_bits

    @property
    def scale_word_bits(self) -> int:
        """Per output channel: multiplier (low), then bias."""
        return self.pe * (self.multiplier_bits + self.bias_bits)

    @property
    def start_word_bits(self) -> int:
        """Per output channel: the accumulator's start value."""
        return self.pe * self.accumulator_bits

    @property
    def step_lane_bits(self) -> int:
        """Per channel lane of a step word: row offset, rotation, x_lo, x_hi, y_lo, y_hi (low to high)."""
        return self.row_bits + self.pixel_bits + 4 * self.coordinate_bits

    @property
    def step_word_bits(self) -> int:
        return self.simd * self.step_lane_bits

    # -- latencies, in cycles from the one in which the sequencer presents a step ----------------
    @property
    def address_latency(self) -> int:
        """Until the feature memory's read address is valid."""
        return 3

    @property
    def read_latency(self) -> int:
        """Until the operands are at the lanes: address, memory, output register, rotation."""
        return self.address_latency + 3

    @property
    def dot_latency(self) -> int:
        """Operands to dot product: the minimum, the shift and one register per level of the adder tree."""
        return self.adder + 1 + (self.simd.bit_length() - 1)

    @property
    def accumulate_latency(self) -> int:
        """Step to accumulator that holds it."""
        return self.read_latency + self.dot_latency + 1

    @property
    def requantize_latency(self) -> int:
        """Accumulator to activation: operand, product, sum, shift, clamp registers."""
        return 5 if self.multiplier_bits else 4

    @property
    def conv_result_latency(self) -> int:
        """Last step of a tile to its activations."""
        return self.code_latency + (self.tables > 0)

    @property
    def code_latency(self) -> int:
        """Last step of a tile to its requantized codes, which tables are addressed with."""
        return self.accumulate_latency + self.requantize_latency

    @property
    def table_words(self) -> int:
        """Words of a table: each holds the entries of one code of each quarter of the codes."""
        return 1 << (self.activation_bits - 2)

    @property
    def table_load_latency(self) -> int:
        """First cycle of a TABLE to the first in which an entry has changed for lookups."""
        return 3

    @property
    def pool_result_latency(self) -> int:
        """Last step of a tile to its maxima."""
        return self.read_latency + 1

    def write_latency(self, pool: bool) -> int:
        """Last step of a tile to the cycle in which its first write beat is at the memory's port."""
        return (self.pool_result_latency if pool else self.conv_result_latency) + 2

    @property
    def residual_latency(self) -> int:
        """Cycles that the operand of a residual, once it is in its register, waits for the accumulator."""
        return self.accumulate_latency - (self.read_latency + 2)

    @property
    def residual_period(self) -> int:
        """Fewest cycles per tile with a residual: its operand's register holds it until then, if there is no line."""
        return 1 if self.residual_delay else self.residual_latency + 1

    # -- identity ------------------------------------------------------------------------------
    def to_json(self) -> dict[str, object]:
        """Plain values, in declaration order. LATER_FIELDS only where they are on: older engines keep their digest."""
        values = {**dataclasses.asdict(self), "shifts": list(self.shifts)}
        return {name: value for name, value in values.items() if value or name not in LATER_FIELDS}

    @classmethod
    def from_json(cls, values: dict[str, object]) -> "ArrayConfig":
        """The inverse of to_json."""
        return cls(**{**values, "shifts": tuple(values["shifts"])})  # type: ignore[arg-type]

    @property
    def digest(self) -> int:
        """First 32 bits of the SHA-256 of to_json: what the engine's configuration register holds."""
        text = json.dumps(self.to_json(), sort_keys=True)
        return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)
