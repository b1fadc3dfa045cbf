"""The driver on the CPUs of the boards, 32-bit and 64-bit ARM under qemu-user, and on the Python of older board images.

The engine is simulated here; the driver reaches it through the same socket and shared memory."""

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shifthw import load
from shifthw.ir import interpret
from shifthw.program import Program
from shifthw.sim.server import Server
from shifthw_driver.settings import Settings

from .builds import SMALL, build, serving
from .fake_hwmon import FakeHwmon
from .fake_linux import FakeLinux
from .foreign_root import CPUS, OLD, NotToBeHad, command

pytestmark = pytest.mark.slow

MACHINES = {"armhf": ("armv7l", 4), "arm64": ("aarch64", 8)}
"""What Python says of the machine, and bytes of a pointer."""
PROBE = Path(__file__).with_name("driver_probe.py")

Drive = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module", params=[*CPUS, OLD])
def python(request: pytest.FixtureRequest) -> list[str]:
    """The command that starts it; kept from one test run to the next."""
    cache = request.config.cache
    assert cache is not None
    try:
        return command(request.param, Path(cache.mkdir("foreign")))
    except NotToBeHad as reason:
        pytest.skip(f"{request.param}: {reason}")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("digits", tmp_path_factory.mktemp("built"), SMALL)


@pytest.fixture(scope="module")
def server(built: Path, simulator_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(built, simulator_cache, tmp_path_factory.mktemp("server")) as server:
        yield server


def run(python: Sequence[str], driver: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*python, "-B", *map(str, arguments)], cwd=driver, capture_output=True, text=True,
                          timeout=600)


@pytest.fixture
def drive(python: list[str], built: Path, server: Server, tmp_path: Path) -> Drive:
    """A command of the driver, in a copy of its folder as on a board."""
    driver = shutil.copytree(built / "driver", tmp_path / "driver")
    return lambda *arguments: run(python, driver, "-m", "shifthw_driver", "--backend", f"simulation:{server.socket}",
                                  *arguments)


def test_it_is_that_machine(request: pytest.FixtureRequest, python: list[str], tmp_path: Path) -> None:
    done = run(python, tmp_path, "-c", "import json, platform, struct, sys; print(json.dumps("
               "[platform.machine(), struct.calcsize('P'), sys.version_info[:2], sys.byteorder]))")
    machine, pointer, version, order = json.loads(done.stdout)
    name = request.node.callspec.params["python"]
    assert order == "little"
    if name == OLD:
        assert version == [3, 8]
    else:
        assert (machine, pointer) == MACHINES[name]


def test_check_is_bit_exact_and_counts_what_the_cycle_model_says(drive: Drive, built: Path, tmp_path: Path) -> None:
    done = drive("check", "--json", tmp_path / "check.json")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "check.json").read_text())
    assert found["bit_exact"] and found["first_mismatch"] is None
    assert found["cycles"] == found["cycles_predicted"] == Program.load(built).cycles(2)


def test_run_gives_the_golden_models_integers(drive: Drive, built: Path, tmp_path: Path) -> None:
    graph = load(built / "model.pt")
    tensor = graph.nodes[0].output
    images = np.random.default_rng(11).integers(tensor.dtype.lo, tensor.dtype.hi, (5, *tensor.shape), endpoint=True)
    expected = interpret(graph, images)[graph.outputs[0]]
    np.save(tmp_path / "images.npy", images)
    np.save(tmp_path / "labels.npy", expected.reshape(5, -1).argmax(axis=1))
    done = drive("run", tmp_path / "images.npy", "-o", tmp_path / "out.npy", "--labels", tmp_path / "labels.npy")
    assert done.returncode == 0, done.stderr
    outputs = np.load(tmp_path / "out.npy")
    np.testing.assert_array_equal(outputs, expected)
    assert outputs.dtype == np.int64
    assert "accuracy: 100.00 %" in done.stdout


def test_bench_agrees_with_the_report(drive: Drive, built: Path, tmp_path: Path) -> None:
    done = drive("bench", "--seconds", "1e-9", "--json", tmp_path / "bench.json")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "bench.json").read_text())
    report = json.loads((built / "report.json").read_text())
    assert found["cycles_as_predicted"]
    assert found["cycles_per_batch"] == report["cycles_per_batch"]


def test_all_else_is_computed_as_here(python: list[str], built: Path, tmp_path: Path) -> None:
    """Every module, bitstreams, mapped registers and memory, PMBus, pixels, and the energy of a measurement."""
    here, there = (probed(command, built / "driver", tmp_path / name)
                   for name, command in (("here", [sys.executable]), ("there", python)))
    assert len(here["modules"]) >= 20 and here["board"]["register"] == 0xFEDCBA98
    power = here["energy"]["result"]["totals"]["accelerator"]["computation"]["power_w"]
    assert power["mean"] == pytest.approx(0.6, abs=0.01) and 0 < power["ci95"] < 0.02
    assert difference(here, there) is None


def probed(python: Sequence[str], driver: Path, folder: Path) -> dict[str, Any]:
    settings = Settings.from_json(json.loads((driver / "driver.json").read_text())["hardware"])
    linux = FakeLinux(folder / "linux", settings)
    linux.add_udmabuf(1 << 20)
    (linux.root / "sys/class/u-dma-buf/udmabuf0/sync_for_device").touch()
    FakeHwmon("zc706", folder, lambda rail, now: 0.5)
    done = run(python, driver, PROBE, folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def difference(here: object, there: object, where: str = "") -> str | None:
    """The first value that is not the same; of real numbers, beyond the last digits that an order of summing moves."""
    if isinstance(here, dict) and isinstance(there, dict) and here.keys() == there.keys():
        parts = [(here[key], there[key], f"{where}.{key}") for key in here]
    elif isinstance(here, list) and isinstance(there, list) and len(here) == len(there):
        parts = [(*pair, f"{where}[{number}]") for number, pair in enumerate(zip(here, there, strict=True))]
    elif isinstance(here, float) and isinstance(there, float):
        return None if math.isclose(here, there, rel_tol=1e-9, abs_tol=1e-12) else f"{where}: {here} != {there}"
    else:
        return None if here == there else f"{where}: {here} != {there}"
    return next((found for part in parts if (found := difference(*part))), None)
