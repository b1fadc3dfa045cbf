"""Runs a shifthw build on its board: loads the bitstream, classifies images, measures time and energy.

Needs Python 3.8 and numpy, nothing of the compiler. `python3 -m shifthw_driver --help` in a build's driver folder.
"""
