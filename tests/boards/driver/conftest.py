"""The driver is not installed: its folder goes to a board as it is, with a copy of the compiler's register map."""

import sys
from pathlib import Path

from shifthw import registers

sys.path.insert(0, str(Path(__file__).parents[3] / "boards" / "driver"))
sys.modules["shifthw_driver.registers"] = registers
