"""`shifthw measure` over ssh: the board is this machine, its engine a simulated one.

The way there is an sshd of this test's own, with its own keys, on a port of this machine alone; and, where none is
installed, a script in the place of ssh that runs the command here.
"""

import getpass
import json
import math
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shifthw import flow, measure, zoo
from shifthw.cli import main
from shifthw.emit.bundle import read_build
from shifthw.measured import measured_rows
from shifthw.program import Program
from shifthw.sim.server import Server

from .builds import SMALL, build, serving
from .fake_hwmon import BOARDS, FakeHwmon

SSHD = "/usr/sbin/sshd"
RUN = Path("/run/sshd")
"""Must be there for an sshd of root, which makes it when it is started by the system."""


@dataclass(frozen=True)
class Way:
    """To the board: options of `shifthw measure`."""

    host: str
    ssh: str


@contextmanager
def sshd(folder: Path) -> Iterator[Way]:
    """An sshd that lets this user in, by a key made for it."""
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    port = closed_port()
    (folder / "known").write_text(f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}")
    (folder / "sshd_config").write_text(f"""
        ListenAddress 127.0.0.1:{port}
        HostKey {folder}/host
        AuthorizedKeysFile {folder}/user.pub
        PidFile {folder}/pid
        PermitRootLogin prohibit-password
        PasswordAuthentication no
        StrictModes no
        UsePAM no
        """)
    (folder / "ssh_config").write_text(f"""
        Host board
            HostName 127.0.0.1
            Port {port}
            User {getpass.getuser()}
            IdentityFile {folder}/user
            IdentitiesOnly yes
            UserKnownHostsFile {folder}/known
            StrictHostKeyChecking yes
            BatchMode yes
        """)
    if os.getuid() == 0:
        RUN.mkdir(0o755, exist_ok=True)     # stays: a process beside this one may run an sshd, too
    process = subprocess.Popen([SSHD, "-D", "-f", folder / "sshd_config", "-E", folder / "log"])
    try:
        wait_until(lambda: answers(port) or process.poll() is not None)
        assert process.poll() is None, (folder / "log").read_text()
        yield Way("board", f"ssh -F {folder}/ssh_config")
    finally:
        process.terminate()
        process.wait()


def closed_port() -> int:
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def wait_until(reached: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.02)


def stand_in(folder: Path) -> Way:
    """For ssh: leaves the host out, and gives the command to a shell here."""
    script = folder / "ssh"
    script.write_text('#!/bin/sh\nexec sh -c "$2"\n')
    script.chmod(0o755)
    return Way("board", str(script))


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Way:
    return stand_in(tmp_path_factory.mktemp("stand-in"))


@pytest.fixture(scope="module", params=["sshd", "stand-in"])
def way(request: pytest.FixtureRequest, here: Way, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Way]:
    if request.param == "stand-in":
        yield here
        return
    if not (Path(SSHD).exists() and shutil.which("ssh") and shutil.which("ssh-keygen")):
        pytest.skip(f"needs {SSHD}, ssh and ssh-keygen: install openssh-server and openssh-client")
    with sshd(tmp_path_factory.mktemp("sshd")) as found:
        yield found


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("digits", tmp_path_factory.mktemp("built"), SMALL)


@pytest.fixture(scope="module")
def another(built: Path) -> Path:
    """Of the same network on another array."""
    return build("digits", built.parent, {**SMALL, "pe": 2})


@pytest.fixture(scope="module")
def server(built: Path, simulator_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(built, simulator_cache, tmp_path_factory.mktemp("server")) as server:
        yield server


@dataclass(frozen=True)
class Desk:
    """A build of this test's own, and the folder on the board."""

    folder: Path
    remote: Path
    server: Server
    capsys: pytest.CaptureFixture[str]

    def measure(self, way: Way, *more: str, python: str = shlex.quote(sys.executable), energy: bool = False
                ) -> tuple[int, str, str]:
        """Exit code, stdout and stderr."""
        code = main(["measure", str(self.folder), "--host", way.host, "--ssh", way.ssh, "--python", python,
                     "--backend", f"simulation:{self.server.socket}", "--remote-folder", str(self.remote),
                     "--bench-seconds", "1e-9", *([] if energy else ["--no-energy"]), *more])
        return code, *self.capsys.readouterr()

    def report(self) -> str:
        assert main(["report", str(self.folder)]) == 0
        return self.capsys.readouterr().out

    @property
    def measured(self) -> dict[str, Any]:
        return json.loads((self.folder / "measured.json").read_text())

    @property
    def page(self) -> str:
        return (self.folder / "report.html").read_text()


@pytest.fixture
def desk(built: Path, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(shutil.copytree(built, tmp_path / "build"), tmp_path / "on the board", server, capsys)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextmanager
def unchanged(*folders: Path) -> Iterator[None]:
    before = [tree(folder) for folder in folders]
    yield
    assert [tree(folder) for folder in folders] == before


def failure(found: tuple[int, str, str]) -> str:
    """The one line that says what is wrong."""
    code, _, errors = found
    assert code == 2
    assert errors.startswith("shifthw: ") and errors.count("\n") == 1, errors
    return errors.rstrip("\n")


def test_measured_beside_predicted(way: Way, desk: Desk) -> None:
    program, report = Program.load(desk.folder), json.loads((desk.folder / "report.json").read_text())
    code, out, errors = desk.measure(way)
    assert (code, errors) == (0, "")
    assert "golden vectors: 3 images, bit-exact: yes" in out, "what the board says comes through"
    check, speed = desk.measured["check"], desk.measured["bench"]
    assert check["bit_exact"] is True
    assert check["cycles"] == check["cycles_predicted"] == program.cycles(2)
    assert speed["cycles_as_predicted"] is True
    assert speed["cycles_per_batch"] == report["cycles_per_batch"]
    assert desk.measured["energy"] is None and desk.measured["host"] == "board"
    printed = desk.report()
    assert printed.count("on the board") == desk.page.count("Measured on the board") == 1
    for name, value, expected in measured_rows(desk.measured):
        for text in (name, value, expected):
            assert text in out and text in printed and text in desk.page
    assert read_build(desk.folder)["files"].keys() == tree(desk.folder).keys() - {"manifest.json", "measured.json"}
    assert (desk.remote / "shifthw_driver" / "cli.py").is_file()
    assert not [path for path in desk.remote.rglob("*") if path.name == "__pycache__"]


def test_measuring_again_replaces_what_was_measured_and_copied(way: Way, desk: Desk) -> None:
    assert desk.measure(way)[0] == 0
    first = desk.measured
    (desk.folder / "measured.json").write_text("{}\n")
    (desk.remote / "network" / "old.npy").touch()
    assert desk.measure(way)[0] == 0
    assert desk.measured.keys() == first.keys() and desk.measured["check"] == first["check"]
    assert desk.page.count("Measured on the board") == 1
    assert not (desk.remote / "network" / "old.npy").exists()
    read_build(desk.folder)


def test_a_measured_build_can_be_built_again(here: Way, built: Path, desk: Desk) -> None:
    assert desk.measure(here)[0] == 0
    flow.build_folder(built.parent / "digits.pt", "zc706", desk.folder, pins={**SMALL, "pe": 2})
    assert not (desk.folder / "measured.json").exists()
    assert "Measured on the board" not in desk.page
    read_build(desk.folder)


def test_a_build_without_its_bitstream_is_told_before_the_board_is_touched(here: Way, desk: Desk) -> None:
    with unchanged(desk.folder):
        line = failure(desk.measure(here, "--backend", "linux"))
    assert "driver/shifthw.bit is missing, must be the bitstream of this build" in line
    assert not desk.remote.exists()


def test_only_the_builds_own_files_and_this_tools_package_are_copied(here: Way, desk: Desk, tmp_path: Path) -> None:
    driver = desk.folder / "driver"
    (tmp_path / "secret").write_text("secret")
    (driver / "mine.npy").write_text("large")
    (driver / "notes").symlink_to(tmp_path / "secret")
    (driver / "shifthw.bit").symlink_to(tmp_path / "secret")
    (driver / "shifthw.bin").write_text("made by make")
    try:
        assert desk.measure(here)[0] == 0
        names = {path.name for path in desk.remote.rglob("*")}
        assert {"driver.json", "shifthw.bin", "registers.py"} <= names
        assert not names & {"mine.npy", "notes", "shifthw.bit"}
    finally:
        for name in ("mine.npy", "notes", "shifthw.bit", "shifthw.bin"):
            (driver / name).unlink()


def test_what_only_root_can_remove_does_not_stop_the_next_measurement(here: Way, desk: Desk, tmp_path: Path) -> None:
    """rm fails, as for a user who finds root's files; the board's Python, which is sudo's then, takes over."""
    assert desk.measure(here)[0] == 0
    (desk.remote / "old.npy").write_text("left by root")
    rm = tmp_path / "bin" / "rm"
    rm.parent.mkdir()
    rm.write_text("#!/bin/sh\ncase \"$*\" in *shifthw-old*) [ ! -e \"$2\" ] ;; *) exec /bin/rm \"$@\" ;; esac\n")
    rm.chmod(0o755)
    ssh = tmp_path / "ssh"
    ssh.write_text(f"#!/bin/sh\nshift\nPATH={rm.parent}:$PATH exec sh -c \"$1\"\n")
    ssh.chmod(0o755)
    assert desk.measure(Way("board", str(ssh)))[0] == 0
    assert not (desk.remote / "old.npy").exists()
    assert [path.name for path in desk.remote.parent.glob(f"{desk.remote.name}*")] == [desk.remote.name]


def test_rails_that_are_not_there_leave_the_rest(way: Way, desk: Desk, tmp_path: Path) -> None:
    chip = tmp_path / "hwmon" / "hwmon0"
    chip.mkdir(parents=True)
    (chip / "name").write_text("ucd90120\n")
    line = failure(desk.measure(way, "--hwmon", str(chip.parent), energy=True))
    assert line.startswith("shifthw: board: `energy` ended with 2: shifthw_driver: ")
    assert "no voltage" in line
    assert desk.measured["check"]["bit_exact"] and desk.measured["bench"]["cycles_as_predicted"]
    assert desk.measured["energy"] is None
    for text in (desk.report(), desk.page):
        assert "frames/s" in text and "not measured: board: `energy` ended with 2" in text
    read_build(desk.folder)


@pytest.mark.slow
def test_energy_beside_the_model(here: Way, simulator_cache: Path, tmp_path: Path,
                                 capsys: pytest.CaptureFixture[str]) -> None:
    """In real time, on rails whose power wanders and is noisy: they know nothing of the engine."""
    zoo.write("digits", tmp_path / "digits.pt")
    folder = tmp_path / "build"
    flow.build_folder(tmp_path / "digits.pt", "zc706", folder, pins=SMALL, clock_mhz=50)
    noise = np.random.default_rng(3)
    fake = FakeHwmon("zc706", tmp_path, lambda rail, now: 0.8 + 0.2 * math.sin(now / 7) + 0.05 * noise.normal())
    done = threading.Event()

    def feed() -> None:
        begin = time.monotonic()
        while not done.wait(0.01):
            fake.write(time.monotonic() - begin)

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        with serving(folder, simulator_cache, tmp_path) as server:
            desk = Desk(folder, tmp_path / "remote", server, capsys)
            code, out, errors = desk.measure(here, "--hwmon", str(fake.folder), "--seconds", "3", energy=True)
    finally:
        done.set()
        feeder.join()
    assert (code, errors) == (0, ""), out
    energy = desk.measured["energy"]
    rails = [channel.rail for channel in BOARDS["zc706"].channels]
    assert energy["rounds"] == 10 and energy["images"] > 0
    assert [rail["name"] for rail in energy["rails"]] == rails
    for entry in (*energy["rails"], energy["totals"]["accelerator"]):
        for difference in ("computation", "computation_and_clock"):
            value = entry[difference]["mj_per_image"]
            assert math.isfinite(value["mean"]) and 0 < value["ci95"] < math.inf
    rows = {name: (value, expected) for name, value, expected in measured_rows(desk.measured)}
    value, expected = rows["- accelerator: VCCINT"]
    model = json.loads((folder / "report.json").read_text())["energy"]["with_memory"]["fpga_zc706"]["total_pj"] / 1e9
    assert " +- " in value and expected.startswith(f"{model:.4g} (")
    for text in (out, desk.report(), desk.page):
        assert all(rail in text for rail in rails)
        assert value in text and expected in text


# -- what goes wrong ---------------------------------------------------------------------------

@pytest.mark.parametrize("name", ["notes.txt", "driver.json", ".profile"])
def test_a_folder_of_something_else_is_left_alone(name: str, way: Way, desk: Desk) -> None:
    desk.remote.mkdir()
    (desk.remote / name).write_text("{}\n")
    with unchanged(desk.folder, desk.remote):
        line = failure(desk.measure(way))
    assert line == (f"shifthw: board: {desk.remote}: must be absent, empty or a driver's, it holds something else: "
                    "choose another with --remote-folder")


def test_a_file_in_the_place_of_the_folder_is_left_alone(here: Way, desk: Desk) -> None:
    desk.remote.write_text("mine\n")
    with unchanged(desk.folder):
        assert "choose another with --remote-folder" in failure(desk.measure(here))
    assert desk.remote.read_text() == "mine\n"


def test_a_folder_that_cannot_be_made_is_told(way: Way, desk: Desk) -> None:
    desk.remote.write_text("mine\n")
    with unchanged(desk.folder):
        line = failure(desk.measure(way, "--remote-folder", f"{desk.remote}/inside"))
    assert line.startswith(f"shifthw: board: {desk.remote}/inside: mkdir: ")


@pytest.mark.skipif(not shutil.which("ssh"), reason="needs ssh: install openssh-client")
def test_a_board_that_does_not_answer(desk: Desk) -> None:
    with unchanged(desk.folder):
        line = failure(desk.measure(Way("127.0.0.1", f"ssh -F none -o BatchMode=yes -p {closed_port()}")))
    assert line.startswith("shifthw: 127.0.0.1: ssh failed (") and "Connection refused" in line


@pytest.mark.parametrize("way", ["sshd"], indirect=True)
def test_a_board_that_wants_a_password(way: Way, desk: Desk, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True)
    config = Path(way.ssh.split()[-1])
    other = config.read_text().replace(f"{config.parent}/user", str(tmp_path / "other"))
    (tmp_path / "config").write_text(other)
    with unchanged(desk.folder):
        line = failure(desk.measure(Way("board", f"ssh -F {tmp_path}/config")))
    assert "Permission denied" in line and "must work without a password" in line


def test_no_ssh(desk: Desk) -> None:
    with unchanged(desk.folder):
        line = failure(desk.measure(Way("board", "/nowhere/ssh -4")))
    assert line == ("shifthw: /nowhere/ssh: must be installed to reach the board, it was not found: install an ssh "
                    "client, or name one with --ssh")


def test_another_build_on_the_board(way: Way, desk: Desk, another: Path, tmp_path: Path) -> None:
    desk = replace(desk, folder=shutil.copytree(another, tmp_path / "another"))
    with unchanged(desk.folder):
        line = failure(desk.measure(way))
    assert line.startswith("shifthw: board: `check` ended with 2: shifthw_driver: engine: register CONFIG is 0x")
    assert line.endswith("copy bitstream and driver folder of one build")


def test_no_python_on_the_board(way: Way, desk: Desk) -> None:
    with unchanged(desk.folder):
        line = failure(desk.measure(way, python="/nowhere/python3"))
    assert line.startswith("shifthw: board: `check` ended with 127: ") and "/nowhere/python3" in line


def test_a_driver_that_stops_is_not_one_that_compares(here: Way, desk: Desk) -> None:
    """Python's exit code is then that of a failed comparison; and the result of a check at the desk is no result."""
    (desk.folder / "driver" / "check.json").write_text('{"bit_exact": true}\n')
    with unchanged(desk.folder):
        line = failure(desk.measure(here, python="sh -c 'echo ModuleNotFoundError: numpy; exit 1'"))
    assert line == "shifthw: board: `check` ended with 1: ModuleNotFoundError: numpy"


@pytest.fixture
def spoiling(tmp_path: Path) -> Callable[[str, str, int], str]:
    """A Python for the board after which a result holds something else, and the exit code is another."""
    script = tmp_path / "spoil.py"
    script.write_text("import pathlib, subprocess, sys\n"
                      "name, update, code, *arguments = sys.argv[1:]\n"
                      "done = subprocess.run([sys.executable, *arguments]).returncode\n"
                      "result = pathlib.Path(name)\n"
                      "if arguments[-1] == name:\n"
                      "    values = eval(update, {'old': __import__('json').loads(result.read_text())})\n"
                      "    result.write_text(values)\n"
                      "    done = int(code)\n"
                      "sys.exit(done)\n")
    return lambda name, update, code: shlex.join([sys.executable, str(script), name, update, str(code)])


def updated(text: str) -> str:
    """Python that gives the old result with some values changed."""
    return f"__import__('json').dumps({{**old, {text}}})"


@pytest.mark.parametrize(("update", "code", "text"), [
    (updated("'bit_exact': False"), 1, "board: the board's results are not those of the golden model: see above"),
    (updated("'cycles': 70000, 'cycles_as_predicted': False"), 1,
     "the board's results are right, but took 70,000 cycles, must be "),
], ids=["results", "cycles"])
def test_a_board_that_computes_wrong(update: str, code: int, text: str, here: Way, desk: Desk,
                                     spoiling: Callable[[str, str, int], str]) -> None:
    with unchanged(desk.folder):
        assert text in failure(desk.measure(here, python=spoiling("check.json", update, code)))


def test_cycles_that_are_not_as_predicted_are_marked(here: Way, desk: Desk,
                                                     spoiling: Callable[[str, str, int], str]) -> None:
    python = spoiling("bench.json", updated("'cycles_as_predicted': False"), 1)
    assert desk.measure(here, python=python)[0] == 1
    assert "(NOT as predicted in all runs)" in desk.report() and "(NOT as predicted in all runs)" in desk.page


@pytest.mark.parametrize(("name", "update", "text"), [
    ("check.json", "'{\"bit_exact\": tr'", "check must be an object"),
    ("bench.json", updated("'clock_mhz': float('nan')"), "bench.clock_mhz must be a number"),
])
def test_results_that_are_none_are_told(name: str, update: str, text: str, here: Way, desk: Desk,
                                        spoiling: Callable[[str, str, int], str]) -> None:
    with unchanged(desk.folder):
        line = failure(desk.measure(here, python=spoiling(name, update, 0)))
    assert line == (f"shifthw: board: the driver's {name} is damaged, or of another version of shifthw: {text}: build "
                    "again, then measure again")


def sample(shape: object) -> Any:
    """A value of the shape that measure demands, and nothing more."""
    if isinstance(shape, dict):
        return {key: sample(inner) for key, inner in shape.items()}
    if isinstance(shape, list):
        return [sample(shape[0])]
    return {bool: True, int: 3, float: 0.5, str: "text"}[shape]


def test_what_is_demanded_of_results_is_enough_for_the_rows() -> None:
    values = {**sample(measure.RESULTS), "host": "board", "energy_failed": None}
    assert len(measured_rows(values)) == 16
    assert [measure._misfit(values[verb], shape, verb) for verb, shape in measure.RESULTS.items()] == [None] * 3


@pytest.mark.parametrize(("verb", "data", "text"), [
    ("check", b"", "check must be an object"), ("check", b"[]", "check must be an object"),
    ("check", b"[" * 100_000, "check must be an object"), ("check", b"\xff", "check must be an object"),
    ("check", b"{}", "check.bit_exact must be true or false"),
], ids=range(5))
def test_what_is_no_result(verb: str, data: bytes, text: str) -> None:
    with pytest.raises(measure.MeasurementFailed, match=f": {text}: build again"):
        measure._result(measure.RemoteBoard(host="board"), verb, data)


@pytest.mark.parametrize(("change", "text"), [
    (lambda values: values["check"].update(images=True), "check.images must be a whole number"),
    (lambda values: values["bench"].update(predicted=None), "bench.predicted must be an object"),
    (lambda values: values["bench"].update(latency_ms={}), "bench.latency_ms.p50 must be a number"),
    (lambda values: values["bench"].update(stall_share="much"), "bench.stall_share must be a number"),
    (lambda values: values["bench"].update(images_per_batch=10 ** 400),
     "bench.images_per_batch must be a whole number"),
    (lambda values: values["energy"].update(rails=None), "energy.rails must be a list"),
    (lambda values: values["energy"]["rails"][0].update(step_w=math.inf), "energy.rails[0].step_w must be a number"),
    (lambda values: values["energy"]["totals"]["accelerator"].pop("computation"),
     "energy.totals.accelerator.computation must be an object"),
    (lambda values: values["energy"].update(warnings=[1]), "energy.warnings[0] must be text"),
], ids=range(9))
def test_what_a_result_lacks(change: Callable[[Any], object], text: str) -> None:
    values = sample(measure.RESULTS)
    change(values)
    assert [wrong for verb in values if (wrong := measure._misfit(values[verb], measure.RESULTS[verb], verb))] == [text]


@pytest.mark.parametrize(("option", "text"), [
    (("--ssh", ""), "'' must be a command as a shell takes it"), (("--ssh", "ssh '"), "must be a command"),
    (("--host", ""), "must be a name of a host"),
    (("--host=-oProxyCommand=x",), "must be a name of a host"), (("--remote-folder", ""), "must not be empty"),
    (("--seconds", "0"), "must be a number of seconds"),
])
def test_bad_arguments_are_told_in_one_line(option: tuple[str, ...], text: str, here: Way, desk: Desk) -> None:
    with pytest.raises(SystemExit, match="2"):
        desk.measure(here, *option)
    errors = desk.capsys.readouterr().err
    assert text in errors and errors.count("\n") == 1


def test_an_end_by_signal_does_not_wait_for_the_board(here: Way, desk: Desk, tmp_path: Path) -> None:
    python = f"sh -c 'echo $$ > {tmp_path}/pid; echo begun; exec sleep 100'"
    command = [sys.executable, "-m", "shifthw.cli", "measure", desk.folder, "--host", here.host, "--ssh", here.ssh,
               "--remote-folder", desk.remote, "--python", python, "--no-energy", "--backend", "simulation:none"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=50) == 143
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGTERM)    # still there: the stand-in's board does not hang up
    assert not (desk.folder / "measured.json").exists()
