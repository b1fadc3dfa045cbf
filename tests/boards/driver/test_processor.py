
import pytest

from shifthw_driver.energy_run import SLOWEST_MHZ
from shifthw_driver.errors import NoHardware
from shifthw_driver.processor import Zynq7000, ZynqUltraScale, dividers, processor

IO, ARM, DDR = Zynq7000.IO_PLL, Zynq7000.ARM_PLL, Zynq7000.DDR_PLL


class Memory:
    """Registers as a dictionary. SLCR ignores writes while it is locked; `stuck` registers ignore all."""

    def __init__(self, values: dict[int, int], stuck: tuple[int, ...] = ()) -> None:
        self.values = values
        self.stuck = stuck
        self.writes: list[tuple[int, int]] = []

    def read(self, address: int) -> int:
        return self.values.get(address, 0)

    def write(self, address: int, value: int) -> None:
        self.writes.append((address, value))
        slcr = address >> 12 == Zynq7000.SLCR >> 12
        if (address, value) == (Zynq7000.UNLOCK, 0xDF0D):
            self.values[Zynq7000.LOCK_STATUS] = 0
        elif (address, value) == (Zynq7000.LOCK, 0x767B):
            self.values[Zynq7000.LOCK_STATUS] = 1
        elif address not in self.stuck and not (slcr and self.read(Zynq7000.LOCK_STATUS)):
            self.values[address] = value


def zynq(**changes: int) -> Memory:
    """A ZC706 after its boot loader: IO PLL 1000 MHz, FCLK0 50 MHz; `changes` by the names of Zynq7000's constants."""
    values = {IO: 30 << 12 | 8, ARM: 40 << 12 | 8, DDR: 32 << 12 | 8, Zynq7000.CLOCK: 4 << 20 | 5 << 8,
              Zynq7000.LEVEL_SHIFTERS: 0xF, Zynq7000.AFI0_WRITE: 0xF00}
    return Memory({**values, **{getattr(Zynq7000, name): value for name, value in changes.items()}})


def ultrascale(**changes: int) -> Memory:
    """An Ultra96 after its boot loader: IOPLL 1500 MHz, pl_clk0 100 MHz."""
    values = {ZynqUltraScale.IO_PLL: 90 << 8 | 1 << 16, ZynqUltraScale.R_PLL: 72 << 8 | 1 << 16,
              ZynqUltraScale.D_PLL: 64 << 8 | 1 << 16, ZynqUltraScale.D_PLL_TO_LPD: 3 << 8,
              ZynqUltraScale.CLOCK: 1 << 24 | 1 << 16 | 15 << 8, ZynqUltraScale.AFI_FS: 0xA00}
    return Memory({**values, **{getattr(ZynqUltraScale, name): value for name, value in changes.items()}})


def test_families() -> None:
    assert type(processor("xc7", zynq())) is Zynq7000
    assert type(processor("xcup", ultrascale())) is ZynqUltraScale


@pytest.mark.parametrize(("pll", "mhz", "pair"), [
    (1000, 200, (5, 1)), (1000, 1000, (1, 1)), (1000, 5000, (1, 1)), (1000, 1000 / 63, (63, 1)),
    (1000, 1000 / 64, (32, 2)), (1500, 250, (6, 1)), (1000, 0.001, (63, 63)), (1000, 1000 / 65, (13, 5)),
])
def test_dividers(pll: float, mhz: float, pair: tuple[int, int]) -> None:
    assert dividers(pll, mhz) == pair


@pytest.mark.parametrize(("pll", "mhz", "found"), [
    (1000, 187.5, 1000 / 6), (1000, 199.0, 1000 / 6), (1000, 199.01, 200), (1000, 142.9, 1000 / 7),
    (1000, 142.85, 1000 / 7), (1500, 187.5, 187.5), (1500, 299.9, 300), (1500, 298, 250), (1600, 187.5, 1600 / 9)])
def test_clock_is_not_above_what_is_asked_for(pll: float, mhz: float, found: float) -> None:
    """Nearest of 187.5 MHz is 200 of 1000: too fast for the design, and refused."""
    first, second = dividers(pll, mhz)
    assert pll / (first * second) == found


@pytest.mark.parametrize("mhz", [0.26, 1.0, 7.3, 33.3, 66.6, 99.0, 142.9, 166.7, 180.0, 240.0])
def test_no_dividers_are_faster(mhz: float) -> None:
    first, second = dividers(1000, mhz)
    best = max(1000 / (a * b) for a in range(1, 64) for b in range(1, 64) if 1000 / (a * b) <= 1.005 * mhz)
    assert 1000 / (first * second) == best


@pytest.mark.parametrize("pll", [1000, 1500])
def test_slowest_clock(pll: float) -> None:
    """Where nothing is slow enough, as for the idle phase of an energy measurement."""
    assert dividers(pll, SLOWEST_MHZ) == (63, 63)


@pytest.mark.parametrize("board", ["zc706", "ultra96v1", "ultra96v2"])
def test_every_clock_that_a_board_offers(board: str) -> None:
    from shifthw import boards

    about = boards.load(board)
    engine = processor(about.family, {"xc7": zynq, "xcup": ultrascale}[about.family]())
    assert engine.pll_mhz() == about.pll_mhz
    for clock in about.clocks_mhz:
        assert engine.set_clock(clock) == engine.clock_mhz() == clock


def test_zynq_clock_register() -> None:
    memory = zynq(CLOCK=0xC000000F | 4 << 20 | 5 << 8)
    engine = Zynq7000(memory)
    assert engine.clock_mhz() == 50
    assert engine.set_clock(199.5) == 200
    assert memory.values[Zynq7000.CLOCK] == 0xC000000F | 1 << 20 | 5 << 8
    assert memory.writes == [(Zynq7000.CLOCK, 0xC000000F | 1 << 20 | 5 << 8)]


@pytest.mark.parametrize(("source", "mhz"), [(0, 1000), (1, 1000), (2, 4000 / 3), (3, 3200 / 3)])
def test_zynq_pll_is_the_one_that_is_selected(source: int, mhz: float) -> None:
    memory = zynq(CLOCK=source << 4 | 1 << 20 | 1 << 8)
    assert Zynq7000(memory).pll_mhz() == pytest.approx(mhz)
    assert Zynq7000(memory).set_clock(mhz / 8) == pytest.approx(mhz / 8)
    assert memory.values[Zynq7000.CLOCK] >> 4 & 3 == source


def test_zynq_pll_feedback_is_read_not_assumed() -> None:
    assert Zynq7000(zynq(IO_PLL=48 << 12)).pll_mhz() == 1600


def test_divider_of_zero_divides_by_one() -> None:
    assert Zynq7000(zynq(CLOCK=0)).clock_mhz() == 1000


def test_slcr_that_linux_left_unlocked_stays_so() -> None:
    memory = zynq()
    Zynq7000(memory).set_clock(100)
    Zynq7000(memory).open_ports(64)
    assert not {Zynq7000.LOCK, Zynq7000.UNLOCK} & {address for address, _ in memory.writes}


def test_slcr_that_is_locked_is_locked_again() -> None:
    memory = zynq(LOCK_STATUS=1, CLOCK_GATE=1)
    assert Zynq7000(memory).set_clock(100) == 100
    assert memory.writes[0] == (Zynq7000.UNLOCK, 0xDF0D)
    assert memory.writes[-1] == (Zynq7000.LOCK, 0x767B)
    assert memory.values[Zynq7000.LOCK_STATUS] == 1
    assert memory.values[Zynq7000.CLOCK_GATE] == 0


def test_slcr_is_locked_again_after_an_error() -> None:
    memory = zynq(LOCK_STATUS=1, CLOCK_GATE=1)
    memory.stuck = (Zynq7000.CLOCK_GATE,)
    with pytest.raises(NoHardware, match="register 0xf8000178 keeps 0x1, bits 0x1 must be 0x0"):
        Zynq7000(memory).open_ports(64)
    assert memory.values[Zynq7000.LOCK_STATUS] == 1


def test_zynq_opens_level_shifters_before_it_releases_resets() -> None:
    memory = zynq(CLOCK_GATE=1, LEVEL_SHIFTERS=0xA, RESET=0x01F33F0F)
    Zynq7000(memory).open_ports(64)
    assert memory.writes == [(Zynq7000.CLOCK_GATE, 0), (Zynq7000.LEVEL_SHIFTERS, 0xF), (Zynq7000.RESET, 0)]


@pytest.mark.parametrize(("bits", "before", "after"), [(64, 1, 0), (64, 0, 0), (32, 0, 1), (32, 1, 1)])
def test_zynq_memory_port_width(bits: int, before: int, after: int) -> None:
    memory = zynq(AFI0_READ=0x6 | before, AFI0_WRITE=0xF00 | before)
    Zynq7000(memory).open_ports(bits)
    assert (memory.values[0xF8008000], memory.values[0xF8008014]) == (0x6 | after, 0xF00 | after)
    assert len(memory.writes) == (0 if before == after else 2)


def test_zynq_ports_that_are_open_are_not_written() -> None:
    memory = zynq()
    Zynq7000(memory).open_ports(64)
    assert memory.writes == []


@pytest.mark.parametrize("value", [0, 30 << 12 | 1 << 4, 0xFFFFFFFF])
def test_zynq_pll_that_does_not_multiply(value: int) -> None:
    with pytest.raises(NoHardware, match="PLL at 0xf8000108 is .*, must be on"):
        Zynq7000(zynq(IO_PLL=value)).clock_mhz()


def test_clock_register_that_keeps_its_value() -> None:
    memory = zynq()
    memory.stuck = (Zynq7000.CLOCK,)
    with pytest.raises(NoHardware, match="in register 0xf8000170 are 0x400500, must be 0x100500 as written"):
        Zynq7000(memory).set_clock(200)


@pytest.mark.parametrize("mhz", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_clock(mhz: float) -> None:
    memory = zynq()
    with pytest.raises(NoHardware, match="must be above 0"):
        Zynq7000(memory).set_clock(mhz)
    assert memory.writes == []


@pytest.mark.parametrize(("change", "mhz"), [
    ({}, 1500), ({"IO_PLL": 45 << 8}, 1500), ({"IO_PLL": 60 << 8 | 1 << 16}, 1000),
    ({"CLOCK": 2}, 1200), ({"CLOCK": 3}, 3200 / 9), ({"CLOCK": 3, "D_PLL_TO_LPD": 2 << 8}, 1600 / 3),
])
def test_ultrascale_pll_is_the_one_that_is_selected(change: dict[str, int], mhz: float) -> None:
    assert ZynqUltraScale(ultrascale(**change)).pll_mhz() == pytest.approx(mhz)


def test_ultrascale_clock_is_off_while_it_changes() -> None:
    memory = ultrascale()
    engine = ZynqUltraScale(memory)
    assert engine.clock_mhz() == 100
    assert engine.set_clock(250) == 250
    value = 1 << 16 | 6 << 8
    assert memory.writes == [(0xFF5E00C0, value), (0xFF5E00C0, value | 1 << 24)]


def test_ultrascale_clock_that_was_off_runs_afterwards() -> None:
    for change in (lambda engine: engine.set_clock(250), lambda engine: engine.open_ports(128)):
        memory = ultrascale(CLOCK=1 << 16 | 6 << 8)
        change(ZynqUltraScale(memory))
        assert memory.values[ZynqUltraScale.CLOCK] == 1 << 24 | 1 << 16 | 6 << 8


@pytest.mark.parametrize("change", [{"IO_PLL": 0}, {"IO_PLL": 90 << 8 | 1 << 3}, {"IO_PLL": 90 << 8 | 4 << 20}])
def test_ultrascale_pll_that_does_not_multiply_the_reference(change: dict[str, int]) -> None:
    with pytest.raises(NoHardware, match="PLL at 0xff5e0020 is .*, must be on"):
        ZynqUltraScale(ultrascale(**change)).clock_mhz()


def test_ultrascale_clock_from_an_unknown_source() -> None:
    with pytest.raises(NoHardware, match="0xff5e00c0 selects source 1, must select IOPLL, RPLL or DPLL"):
        ZynqUltraScale(ultrascale(CLOCK=1)).set_clock(250)


@pytest.mark.parametrize(("bits", "code"), [(128, 0), (64, 1), (32, 2)])
@pytest.mark.parametrize("before", [0, 1, 2, 3])
def test_ultrascale_port_widths(bits: int, code: int, before: int) -> None:
    memory = ultrascale(AFIFM2_READ=0xB8 | before, AFIFM2_WRITE=0xB0 | before, AFI_FS=0x800 | before << 8)
    ZynqUltraScale(memory).open_ports(bits)
    assert (memory.values[0xFD380000], memory.values[0xFD380014]) == (0xB8 | code, 0xB0 | code)
    assert memory.values[0xFD615000] == 0xA00
    assert [address for address, _ in memory.writes].count(0xFD380000) == (before != code)
