"""`python3 -m shifthw_driver`."""

import sys

from .cli import main

sys.exit(main())
