"""`python3 -m shifthw_driver`. Everything else is imported when it is known that this Python can."""

import sys
from importlib import import_module
from importlib.util import find_spec

if sys.version_info < (3, 8) or find_spec("numpy") is None:
    print("shifthw_driver: {} is Python {}.{}{}, must be 3.8 or newer with numpy: start the driver with another, on "
          "PYNQ images with /usr/local/share/pynq-venv/bin/python3".format(
              sys.executable, *sys.version_info[:2], "" if find_spec("numpy") else " without numpy"), file=sys.stderr)
    sys.exit(2)
sys.exit(import_module("shifthw_driver.cli").main())
