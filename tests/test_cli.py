"""The command line on the digits network, on an array small enough to simulate in seconds."""

import io
import json
import pickle
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from shifthw import flow, zoo
from shifthw.cli import main
from shifthw.emit.bundle import read_build
from shifthw.frontend.model_file import load
from shifthw.ir import interpret

ARRAY = "images=2,pixels=2,simd=4,pe=4"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "digits.pt"
    zoo.write("digits", path)
    return path


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images") / "images.npy"
    np.save(path, np.random.default_rng(5).integers(0, 17, (5, 1, 8, 8), dtype=np.uint8))
    return path


@pytest.fixture(scope="module")
def build(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("builds") / "build"
    assert main(["build", str(model), "--board", "zc706", "--array", ARRAY, "-o", str(folder)]) == 0
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_build_leaves_everything_and_a_manifest(build: Path, model: Path) -> None:
    manifest = read_build(build)
    assert {"program.bin", "program.json", "program.txt", "model.pt", "report.json", "report.html",
            "rtl/shifthw_engine.v", "vivado/settings.tcl", "vivado/Makefile"} <= set(manifest["files"])
    assert manifest["board"] == "zc706"
    assert (build / "model.pt").read_bytes() == model.read_bytes()


def test_report_holds_what_it_must(build: Path) -> None:
    report = json.loads((build / "report.json").read_text())
    assert report["model"] == "digits"
    assert report["board"] == "zc706"
    assert report["array"] == {"images": 2, "pixels": 2, "simd": 4, "pe": 4}
    assert report["lanes"] == 64
    assert sum(layer["cycles"] for layer in report["layers"]) == report["cycles_per_batch"]
    assert sum(layer["steps"] for layer in report["layers"]) == report["steps"]
    assert report["cycles_per_image"] == report["cycles_per_batch"] / 2
    assert report["lanes_busy"] == report["macs_per_image"] / (report["lanes"] * report["cycles_per_image"])
    assert report["frames_per_second"] == report["clock_mhz"] * 1e6 / report["cycles_per_image"]
    assert report["resources"]["lut"]["total"] == 218600
    assert set(report["resources"]) == {"lut", "ff", "bram36", "dsp"}
    assert set(report["marks"].values()) == {"exact", "estimated", "assumed"}


def test_report_is_printed(build: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(build)]) == 0
    printed = capsys.readouterr().out
    for text in ("block.conv1", "64 lanes", "LUTs", "(exact)", "(estimated)", "(assumed)", "frames/s"):
        assert text in printed


def test_page_needs_nothing_else(build: Path) -> None:
    page = (build / "report.html").read_text()
    assert "block.conv1" in page
    assert "src=" not in page and "href=" not in page and "http" not in page


def test_two_builds_are_equal(build: Path, model: Path, tmp_path: Path) -> None:
    assert main(["build", str(model), "--board", "zc706", "--array", ARRAY, "-o", str(tmp_path / "again")]) == 0
    again = tree(tmp_path / "again")
    assert {path: data for path, data in tree(build).items() if path in again} == again


def test_clock_reaches_report_and_project(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "build"
    assert main(["build", str(model), "--board", "ultra96v2", "--array", ARRAY, "--clock", "150",
                 "-o", str(folder)]) == 0
    assert json.loads((folder / "report.json").read_text())["clock_mhz"] == 150
    assert "set clock_mhz 150.000000" in (folder / "vivado" / "settings.tcl").read_text()


# -- simulation --------------------------------------------------------------------------------

def test_simulation_is_bit_exact_and_takes_the_predicted_cycles(
    build: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = load(build / "model.pt")
    classes = interpret(graph, np.load(images))[graph.outputs[0]][:, :, 0, 0].argmax(axis=1)
    classes[0] += 1
    np.save(tmp_path / "labels.npy", classes)
    assert main(["sim", str(build), "--images", str(images), "--labels", str(tmp_path / "labels.npy"),
                 "--engine", "fast"]) == 0
    result = json.loads((build / "sim.json").read_text())
    assert result["images"] == 5
    assert result["bit_exact"] is True
    assert result["first_mismatch"] is None
    assert result["cycles_as_predicted"] is True
    assert result["cycles_per_image"] == json.loads((build / "report.json").read_text())["cycles_per_image"]
    assert result["accuracy"] == 0.8
    assert "bit-exact: yes" in capsys.readouterr().out


def test_simulation_with_stalls_and_a_limit(build: Path, images: Path) -> None:
    assert main(["sim", str(build), "--images", str(images), "--limit", "2", "--stalls", "7",
                 "--engine", "fast"]) == 0
    result = json.loads((build / "sim.json").read_text())
    assert (result["images"], result["stalls_seed"], result["accuracy"]) == (2, 7, None)
    assert result["cycles_as_predicted"] is True


def test_a_wrong_integer_is_named_and_exits_1(
    build: Path, images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    simulate = flow.simulate

    def broken(*arguments: object, **options: object) -> object:
        result = simulate(*arguments, **options)
        result.outputs[4, 2, 0, 0] += 1
        return result

    monkeypatch.setattr(flow, "simulate", broken)
    assert main(["sim", str(build), "--images", str(images), "--engine", "fast"]) == 1
    result = json.loads((build / "sim.json").read_text())
    mismatch = result["first_mismatch"]
    assert result["bit_exact"] is False
    assert (mismatch["layer"], mismatch["image"], mismatch["index"]) == ("RTL only: output logits", 4, [2, 0, 0])
    assert mismatch["actual"] == mismatch["expected"] + 1
    assert "bit-exact: no" in capsys.readouterr().out


# -- bad input: one line, exit code 2, nothing written -------------------------------------------

def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("shifthw: ") and error.count("\n") == 1
    return error


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return (Path.touch, (self.path,))


def write_text(path: Path, model: Path) -> None:
    path.write_text("not a model")


def write_truncated(path: Path, model: Path) -> None:
    path.write_bytes(model.read_bytes()[:1000])


def write_evil_pickle(path: Path, model: Path) -> None:
    path.write_bytes(pickle.dumps(Evil(path.with_name("executed"))))


def write_evil_archive(path: Path, model: Path) -> None:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Evil(path.with_name("executed"))))
        archive.writestr("archive/version", "3")
    path.write_bytes(data.getvalue())


def write_nothing(path: Path, model: Path) -> None:
    pass


@pytest.mark.parametrize("write", [write_text, write_truncated, write_evil_pickle, write_evil_archive, write_nothing],
                         ids=lambda write: write.__name__)
def test_bad_model_files(write: object, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "bad.pt", model)
    before = tree(tmp_path)
    error = refused(["build", str(tmp_path / "bad.pt"), "--board", "zc706", "-o", str(tmp_path / "out")], capsys)
    assert "bad.pt" in error
    assert tree(tmp_path) == before


@pytest.mark.parametrize(("arguments", "message"), [
    (["--board", "zc7006"], "use one of ultra96v1, ultra96v2, zc706"),
    (["--board", "zc706", "--clock", "1000"], "clock must be one of"),
    (["--board", "zc706", "--array", "images=16,pixels=64,simd=128,pe=128"], "LUTs"),
    (["--board", "ultra96v2", "--array", "pixels=3"], "pixels must be a power of two"),
])
def test_bad_builds(arguments: list[str], message: str, model: Path, tmp_path: Path,
                    capsys: pytest.CaptureFixture[str]) -> None:
    assert message in refused(["build", str(model), *arguments, "-o", str(tmp_path / "out")], capsys)
    assert list(tmp_path.iterdir()) == []


def test_output_in_the_way(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    before = tree(tmp_path)
    assert "choose another" in refused(["build", str(model), "--board", "zc706", "-o", str(tmp_path)], capsys)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("array", ["images", "images=", "images=two", "rows=2", "images=1,images=2", "images=-1"])
def test_bad_array_syntax(array: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["build", "model.pt", "--board", "zc706", "--array", array])
    assert stop.value.code == 2
    assert "must be one of images, pixels, simd, pe" in capsys.readouterr().err


GOOD = np.zeros((2, 1, 8, 8), np.uint8)


@pytest.mark.parametrize(("content", "message"), [
    (GOOD[0], "shape"),
    (GOOD[:, :, :7], "must be [N, 1, 8, 8]"),
    (GOOD.astype(np.float32), "integers"),
    (GOOD.astype(np.int64) - 1, "must be within 0.."),
    (GOOD[:0], "with N at least 1"),
    (np.array([{}]), "must be a .npy file"),
    (b"no array", "must be a .npy file"),
    (None, "must be a .npy file"),
])
def test_bad_images(content: object, message: str, build: Path, tmp_path: Path,
                    capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.npy"
    if isinstance(content, np.ndarray):
        np.save(path, content, allow_pickle=True)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    before = tree(build)
    assert message in refused(["sim", str(build), "--images", str(path)], capsys)
    assert tree(build) == before


@pytest.mark.parametrize("labels", [np.zeros(4, np.int64), np.zeros(5), np.zeros((5, 1), np.int64)])
def test_bad_labels(labels: np.ndarray, build: Path, images: Path, tmp_path: Path,
                    capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "y.npy", labels)
    error = refused(["sim", str(build), "--images", str(images), "--labels", str(tmp_path / "y.npy")], capsys)
    assert "labels must be integers" in error


@pytest.mark.parametrize("verb", [["report"], ["sim", "--images", "x.npy"]])
def test_not_a_build(verb: list[str], images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [verb[0], str(tmp_path), *(str(images) if word == "x.npy" else word for word in verb[1:])]
    assert "build first" in refused(arguments, capsys)


def test_unknown_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "there are digits" in refused(["zoo", "lenet", "-o", str(tmp_path / "x.pt")], capsys)
    assert list(tmp_path.iterdir()) == []


# -- lists, and being stopped --------------------------------------------------------------------

def test_boards_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["boards"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("ultra96v1", "ultra96v2", "zc706", "xc7z045ffg900-2"))


def test_zoo_tells_trained_from_seeded(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["zoo"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines if line.startswith("digits")] == [["digits", "trained:"]]
    assert all("trained" in line or "seeded" in line for line in lines)


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
@pytest.mark.parametrize("seconds", [2.5])
def test_a_stopped_build_leaves_nothing_or_all(stop: signal.Signals, seconds: float, model: Path,
                                               tmp_path: Path) -> None:
    command = [sys.executable, "-m", "shifthw.cli", "build", str(model), "--board", "zc706", "--array", ARRAY,
               "-o", str(tmp_path / "out")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    time.sleep(seconds)
    process.send_signal(stop)
    _, errors = process.communicate()
    if (tmp_path / "out").exists():
        read_build(tmp_path / "out")
    assert "Traceback" not in errors


def test_help_needs_no_pytorch() -> None:
    code = "import sys; from shifthw import cli; cli._parser(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
