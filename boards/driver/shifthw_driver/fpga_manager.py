"""Loading a bitstream with Linux's fpga_manager.

Xilinx's kernels have an attribute that takes a file name. Others load a bitstream for a device-tree overlay only;
those that can apply one at run time have it in configfs. shifthw.dtso, beside the bitstream, is such an overlay.
"""

from pathlib import Path

from .bitstream import Bitstream
from .errors import BadFolder, NoHardware

FIRMWARE = "shifthw.bin"
"""What the bitstream is called in /lib/firmware, and in the overlay."""

OVERLAY = "shifthw"


def load(bitstream: Bitstream, overlay: Path, root: Path) -> None:
    """Loads it by whichever way this kernel has; NoHardware if there is none, or if it fails.

    overlay : the compiled overlay, used only where it is needed
    root : above /sys and /lib
    """
    manager = _manager(root)
    firmware = root / "lib/firmware" / FIRMWARE
    try:
        firmware.parent.mkdir(parents=True, exist_ok=True)
        firmware.write_bytes(bitstream.swapped())
    except OSError as error:
        raise NoHardware(f"{firmware}: cannot be written ({error}): run as root") from None
    overlays = root / "sys/kernel/config/device-tree/overlays"
    if (manager / "firmware").exists():
        _by_name(manager)
    elif overlays.is_dir():
        _by_overlay(overlays / OVERLAY, overlay)
    else:
        raise NoHardware(f"{manager}: has no attribute `firmware`, and {overlays} is not there, one must be: use "
                         "a Xilinx kernel or one with overlays in configfs, or let the boot loader load the bitstream")
    require_operating(root)


def require_operating(root: Path) -> None:
    """NoHardware unless the programmable logic is configured: touching its registers would hang the processor."""
    manager = _manager(root)
    state = (manager / "state").read_text().strip()
    if state != "operating":
        raise NoHardware(f"{manager}: state is {state!r}, must be 'operating': load the bitstream with this driver or "
                         "from the boot loader; see dmesg")


def _manager(root: Path) -> Path:
    managers = sorted((root / "sys/class/fpga_manager").glob("*"))
    if not managers:
        raise NoHardware(f"{root / 'sys/class/fpga_manager'}: is empty, must have the device's manager: use a kernel "
                         "with CONFIG_FPGA_MGR_ZYNQ_FPGA or CONFIG_FPGA_MGR_ZYNQMP_FPGA")
    return managers[0]


def _by_name(manager: Path) -> None:
    try:
        if (manager / "flags").exists():
            (manager / "flags").write_text("0")
        (manager / "firmware").write_text(FIRMWARE)
    except OSError as error:
        raise NoHardware(f"{manager}: does not load {FIRMWARE} ({error}): run as root; see dmesg") from None


def _by_overlay(applied: Path, overlay: Path) -> None:
    try:
        data = overlay.read_bytes()
    except OSError:
        raise BadFolder(f"{overlay}: is not there, must be the compiled overlay, for this kernel loads bitstreams in "
                        "no other way: dtc -@ -I dts -O dtb -o "
                        f"{overlay.name} {overlay.with_suffix('.dtso').name}") from None
    try:
        if applied.exists():
            applied.rmdir()
        applied.mkdir()
        (applied / "dtbo").write_bytes(data)
        status = (applied / "status").read_text().strip()
    except OSError as error:
        raise NoHardware(f"{applied}: does not take {overlay.name} ({error}): run as root; see dmesg") from None
    if status != "applied":
        raise NoHardware(f"{applied}: status is {status!r}, must be 'applied': see dmesg")
