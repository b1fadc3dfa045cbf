"""AdderNet (https://github.com/huawei-noah/AdderNet): adder layers between an ordinary first and last convolution."""

from .adder import real_layer
from .architectures import ADDERNET
from .framework import ORDINARY, Framework

ADDER_NET = Framework("addernet", "AdderNet, adder layers", ADDERNET, (ORDINARY,), real_layer)
