"""The command line on the digits network, on an array small enough to simulate in seconds."""

import io
import json
import pickle
import shutil
import signal
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shifthw import flow, image_files, zoo
from shifthw.cli import main
from shifthw.emit.bundle import read_build, write_build
from shifthw.errors import BadImages
from shifthw.frontend.model_file import load, load_model, write_graph
from shifthw.ir import interpret
from shifthw.ir.serialize import to_document

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
    assert to_document(load(build / "model.pt"))[0] == to_document(load(model))[0]
    assert load_model(build / "model.pt").fake_reference is None, "the simulation needs no more than the graph"


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
    for text in ("block.conv1", "64 lanes", "LUTs", "(exact)", "(estimated)", "(assumed)", "frames/s",
                 "energy per image (model, not measurement)", "total with memory"):
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
    build: Path, images: Path, simulator_cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tree(build)
    graph = load(build / "model.pt")
    classes = interpret(graph, np.load(images))[graph.outputs[0]][:, :, 0, 0].argmax(axis=1)
    classes[0] += 1
    np.save(tmp_path / "labels.npy", classes)
    assert main(["sim", str(build), "--images", str(images), "--labels", str(tmp_path / "labels.npy"),
                 "--engine", "fast", "--cache", str(simulator_cache)]) == 0
    assert tree(build).keys() - before.keys() <= {"sim.json"}
    result = json.loads((build / "sim.json").read_text())
    assert result["images"] == 5
    assert result["bit_exact"] is True
    assert result["first_mismatch"] is None
    assert result["cycles_as_predicted"] is True
    assert result["cycles_per_image"] == json.loads((build / "report.json").read_text())["cycles_per_image"]
    assert result["accuracy"] == 0.8
    assert "bit-exact: yes" in capsys.readouterr().out


def test_simulation_with_stalls_and_a_limit(build: Path, images: Path, simulator_cache: Path) -> None:
    assert main(["sim", str(build), "--images", str(images), "--limit", "2", "--stalls", "7",
                 "--engine", "fast", "--cache", str(simulator_cache)]) == 0
    result = json.loads((build / "sim.json").read_text())
    assert (result["images"], result["stalls_seed"], result["accuracy"]) == (2, 7, None)
    assert result["cycles_as_predicted"] is True


def test_a_wrong_integer_is_named_and_exits_1(
    build: Path, images: Path, simulator_cache: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str]
) -> None:
    simulate = flow.simulate

    def broken(*arguments: object, **options: object) -> object:
        result = simulate(*arguments, **options)
        result.outputs[4, 2, 0, 0] += 1
        return result

    monkeypatch.setattr(flow, "simulate", broken)
    assert main(["sim", str(build), "--images", str(images), "--engine", "fast",
                 "--cache", str(simulator_cache)]) == 1
    result = json.loads((build / "sim.json").read_text())
    mismatch = result["first_mismatch"]
    assert result["bit_exact"] is False
    assert (mismatch["layer"], mismatch["image"], mismatch["index"]) == ("RTL only: output logits", 4, [2, 0, 0])
    assert mismatch["actual"] == mismatch["expected"] + 1
    assert "bit-exact: no" in capsys.readouterr().out


def test_raw_pixels_are_simulated(model: Path, simulator_cache: Path, tmp_path: Path,
                                  capsys: pytest.CaptureFixture[str]) -> None:
    """uint8 pixels 0..255 and labels in an .npz, for a network that takes steps of 0..16."""
    graph = load(model)
    rule = {"scale": 1 / 255, "mean": [0.0], "std": [1.0]}
    write_graph(replace(graph, metadata=graph.metadata | {"preprocess": rule}), tmp_path / "raw.pt")
    steps = np.random.default_rng(5).integers(0, 17, (2, 1, 8, 8))
    pixels = np.rint(steps / 16 * 255).astype(np.uint8)
    classes = interpret(graph, steps)[graph.outputs[0]][:, :, 0, 0].argmax(axis=1)
    np.savez(tmp_path / "raw.npz", images=pixels, labels=classes)
    assert main(["build", str(tmp_path / "raw.pt"), "--board", "zc706", "--array", ARRAY,
                 "-o", str(tmp_path / "build")]) == 0
    assert main(["sim", str(tmp_path / "build"), "--images", str(tmp_path / "raw.npz"), "--engine", "fast",
                 "--cache", str(simulator_cache)]) == 0
    assert "accuracy: 100.00 %" in capsys.readouterr().out


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


UNUSABLE = ["file/out", "file/a/out", "x" * 300, "x" * 250, "/".join(["x" * 200] * 25), "/proc/out"]


@pytest.mark.parametrize("output", UNUSABLE)
def test_an_unusable_output_is_told_before_compiling(
    output: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delattr(flow, "compile_model")
    (tmp_path / "file").write_text("mine")
    error = refused(["build", str(model), "--board", "zc706", "-o", str(tmp_path / output)], capsys)
    assert "choose another" in error
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("output", ["file/x.pt", "x" * 300, "/proc/x.pt", "absent/x.pt", "."])
def test_an_unusable_file_for_a_network_is_told(output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delattr(zoo, "write")
    (tmp_path / "file").write_text("mine")
    assert "choose another" in refused(["zoo", "digits", "-o", str(tmp_path / output)], capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(("error", "message"), [
    (PermissionError(13, "Permission denied", "/secret/\x1b[31m"), "/secret/\N{REPLACEMENT CHARACTER}[31m: Permission"),
    (OSError(28, "No space left on device"), "the system: No space left on device"),
])
def test_what_the_system_refuses_is_one_line(error: OSError, message: str, tmp_path: Path,
                                             monkeypatch: pytest.MonkeyPatch,
                                             capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(folder: Path) -> None:
        raise error

    monkeypatch.setattr(flow, "read_report", refuse)
    assert message in refused(["report", str(tmp_path)], capsys)


def test_a_folder_that_cannot_take_the_result_is_told_before_simulating(
    build: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(build, tmp_path / "build")
    (folder / "sim.json").unlink(missing_ok=True)
    (folder / "sim.json").mkdir()
    monkeypatch.delattr(flow, "build_simulator")
    assert "sim.json must be a file" in refused(["sim", str(folder), "--images", str(images)], capsys)
    (folder / "sim.json").rmdir()

    def read_only(**_: object) -> str:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("shifthw.emit.bundle.tempfile.mkdtemp", read_only)
    assert "Read-only file system" in refused(["sim", str(folder), "--images", str(images)], capsys)


def stopped(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line about arguments that argparse refuses."""
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("shifthw: ") and error.count("\n") == 1
    return error


@pytest.mark.parametrize("array", ["images", "images=", "images=two", "rows=2", "images=1,images=2", "images=-1",
                                   "images=\u00b2", "images=\u0662", "images=" + "9" * 5000, "nonsense", "\x1b[31m"])
def test_bad_array_syntax(array: str, capsys: pytest.CaptureFixture[str]) -> None:
    error = stopped(["build", "model.pt", "--board", "zc706", "--array", array], capsys)
    assert "must be one of images, pixels, simd, pe" in error
    assert "see `shifthw build --help`" in error


@pytest.mark.parametrize("seed", ["-1", "-3", str(2 ** 32), "9" * 30, "x", "\u00b2", "1.5"])
def test_bad_seeds(seed: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "must be a number within 0..4294967295" in stopped(["sim", "b", "--images", "x", "--stalls", seed], capsys)


@pytest.mark.parametrize("arguments", [[], ["bild"], ["build"], ["build", "m.pt"], ["report"], ["boards", "--all"],
                                       ["sim", "b", "--images", "x", "--limit", "0"],
                                       ["check", "m.pt"], ["check", "m.pt", "--images", "x", "--layer-images", "0"],
                                       ["build", "m.pt", "--board", "zc706", "--goal", "fun\nny"]])
def test_wrong_arguments_are_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert "--help`" in stopped(arguments, capsys)


GOOD = np.zeros((2, 1, 8, 8), np.uint8)


def header(shape: str) -> bytes:
    """A .npy file of 100 bytes that claims another shape."""
    text = f"{{'descr': '<i8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00v\x00" + text.encode() + bytes(100)


@pytest.mark.parametrize(("content", "message"), [
    (GOOD[0], "shape"),
    (GOOD[:, :, :7], "must be [N, 1, 8, 8]"),
    (GOOD.astype(np.float32) * np.nan, "must be finite"),
    (GOOD.astype(np.complex64), "integers"),
    (GOOD.astype(np.int64) - 1, "must be within 0.."),
    (GOOD[:0], "with N at least 1"),
    (np.array([{}]), "must be a .npy file"),
    (GOOD.view([("a", "u1")]), "integers"),
    (np.array(5), "shape"),
    (b"no array", "must be a .npy file"),
    (b"", "must be a .npy file"),
    (b"PK\x03\x04" + b"junk" * 100, "must be a .npy file"),
    (header("(1000000000000, 1, 8, 8)"), "must be a .npy file"),
    (header("(1000000000000000000000, 1, 8, 8)"), "must be a .npy file"),
    (header("(-1, 1, 8, 8)"), "must be a .npy file"),
    (header("(((((("), "must be a .npy file"),
    (header("(2, 1, 8, 8)")[:130], "must be a .npy file"),
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


def test_images_of_the_other_byte_order_are_the_same(tmp_path: Path) -> None:
    pictures = np.arange(128).reshape(2, 1, 8, 8)
    np.save(tmp_path / "x.npy", pictures.astype(">i8"))
    read = image_files.read_images(tmp_path / "x.npy", 1)
    assert read.dtype == np.int64
    np.testing.assert_array_equal(read, pictures[:1])


@pytest.mark.parametrize(("labels", "message"), [
    (np.zeros(4, np.int64), "labels must be integers"),
    (np.zeros(6, np.int64), "as many as images, not more"),
    (np.zeros(5), "labels must be integers"),
    (np.zeros((5, 1), np.int64), "labels must be integers"),
    (np.array([0, 1, 2, 3, 10]), "within 0..9"),
    (np.array([0, 1, 2, 3, -1]), "within 0..9"),
])
def test_bad_labels(labels: np.ndarray, message: str, build: Path, images: Path, tmp_path: Path,
                    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delattr(flow, "build_simulator")
    np.save(tmp_path / "y.npy", labels)
    assert message in refused(["sim", str(build), "--images", str(images), "--labels", str(tmp_path / "y.npy")], capsys)


def test_labels_of_further_images_may_follow_under_a_limit(tmp_path: Path) -> None:
    np.save(tmp_path / "y.npy", np.arange(6))
    np.testing.assert_array_equal(image_files.read_labels(tmp_path / "y.npy", 2, more=True), [0, 1])


def test_labels_for_maps_are_refused() -> None:
    with pytest.raises(BadImages, match="one number per class, not maps"):
        image_files.check_labels(np.zeros(2, np.int64), (10, 2, 1))


# -- a build folder of somebody else's making ----------------------------------------------------

@pytest.fixture
def foreign(build: Path, tmp_path: Path) -> Path:
    folder = shutil.copytree(build, tmp_path / "foreign")
    (folder / "sim.json").unlink(missing_ok=True)
    return folder


def rewrite(folder: Path, **files: bytes | None) -> None:
    """Changes files of a build, and its manifest so that it fits."""
    manifest = json.loads((folder / "manifest.json").read_text())
    content = {path: (folder / path).read_bytes() for path in manifest.pop("files")} | files
    shutil.rmtree(folder)
    write_build(folder, {path: data for path, data in content.items() if data is not None}, manifest)


@pytest.mark.parametrize("text", ["garbage", "{}", "[]", "5", '{"bit_exact": true}', "[" * 100_000])
def test_a_damaged_result_is_told(text: str, foreign: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (foreign / "sim.json").write_text(text)
    assert "sim.json: is damaged" in refused(["report", str(foreign)], capsys)


@pytest.mark.parametrize("text", [b"garbage", b"{}", b"[]", b'{"marks": [], "array": 5}'])
def test_a_damaged_report_is_told(text: bytes, foreign: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rewrite(foreign, **{"report.json": text})
    assert "report.json: is damaged" in refused(["report", str(foreign)], capsys)


@pytest.mark.parametrize("path", flow.NEEDED)
def test_a_build_without_what_every_build_has(path: str, foreign: Path, images: Path,
                                              capsys: pytest.CaptureFixture[str]) -> None:
    rewrite(foreign, **{path: None})
    assert f"must list {path}" in refused(["sim", str(foreign), "--images", str(images)], capsys)


def test_a_program_of_nonsense(foreign: Path, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads((foreign / "program.json").read_text())
    rewrite(foreign, **{"program.json": json.dumps({"format": document["format"]}).encode()})
    assert "program.json is damaged" in refused(["sim", str(foreign), "--images", str(images)], capsys)


def test_verilog_that_would_run_something(foreign: Path, images: Path, monkeypatch: pytest.MonkeyPatch,
                                          capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delattr(flow, "build_simulator")
    rewrite(foreign, **{"rtl/evil.v": b'module evil; initial $system("touch executed"); endmodule\n'})
    assert "holds $system" in refused(["sim", str(foreign), "--images", str(images)], capsys)


def test_verilog_beside_the_manifest(foreign: Path, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (foreign / "rtl" / "evil.v").write_text("module evil; endmodule\n")
    assert "rtl/evil.v is not from the build" in refused(["sim", str(foreign), "--images", str(images)], capsys)


def test_programs_in_the_folder_are_not_run(foreign: Path, images: Path, simulator_cache: Path,
                                            tmp_path: Path) -> None:
    """Where an earlier version kept simulators."""
    assert flow.simulate_folder(foreign, np.load(images)[:1], engine=flow.Engine.FAST, cache=simulator_cache)
    for made in simulator_cache.glob("fast-*"):
        fake = foreign / "simulator" / made.name / "simulator"
        fake.parent.mkdir(parents=True)
        fake.write_text(f"#!/bin/sh\ntouch {tmp_path}/executed\n")
        fake.chmod(0o755)
    result = flow.simulate_folder(foreign, np.load(images)[:1], engine=flow.Engine.FAST, cache=simulator_cache)
    assert result["bit_exact"] is True
    assert not (tmp_path / "executed").exists()


def test_names_are_printed_as_they_are(foreign: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = json.loads((foreign / "report.json").read_text())
    report["model"], report["layers"][0]["name"] = "[bold]net[/bold] :smile: [/]", "[red]a\x1b[2J\n\u202eb[/red]"
    report["marks"]["resources"] = "[link=x]"
    rewrite(foreign, **{"report.json": json.dumps(report).encode()})
    assert main(["report", str(foreign)]) == 0
    printed = capsys.readouterr().out
    bad = "\N{REPLACEMENT CHARACTER}"
    assert "[bold]net[/bold] :smile: [/]" in printed
    assert f"[red]a{bad}[2J {bad}b[/red]" in printed
    assert "resources ([link=x])" in printed
    assert "\x1b" not in printed


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


STOPPED = """
import os, signal, sys
from shifthw import cli, flow
from shifthw.emit import bundle

signal.signal(signal.SIGINT, signal.default_int_handler)    # a shell's background jobs ignore it
moment, number = sys.argv[1], int(sys.argv[2])

def stop_at(name):
    if name == moment:
        os.kill(os.getpid(), number)

class Stages(cli.Stages):
    def __call__(self, stage, done):
        super().__call__(stage, done)
        stop_at(stage)

syncs = 0
def fsync(handle, real=os.fsync):
    global syncs
    syncs += 1
    stop_at(f"file {syncs}")
    real(handle)

def exchange(*paths, real=bundle.exchange):
    stop_at("before the exchange")
    real(*paths)
    stop_at("after the exchange")

cli.Stages, bundle.os.fsync, bundle.exchange = Stages, fsync, exchange
sys.exit(cli.main(sys.argv[3:]))
"""

WRITING = ("file 9", "before the exchange", "after the exchange")


@pytest.mark.parametrize(("moment", "stop"), [
    ("choosing the array", signal.SIGTERM), ("writing Verilog", signal.SIGINT),
    *((moment, signal.SIGKILL) for moment in WRITING), ("file 9", signal.SIGTERM), ("file 9", signal.SIGINT),
])
def test_a_stopped_build_leaves_nothing_or_all(moment: str, stop: signal.Signals, model: Path, tmp_path: Path) -> None:
    """Stopped in compilation, among the files, and around the step that shows them; over an earlier build."""
    write_build(tmp_path / "out", {"earlier": b"build"}, {})
    command = [sys.executable, "-c", STOPPED, moment, str(int(stop)), "build", str(model), "--board", "zc706",
               "--array", ARRAY, "-o", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}[stop]
    files = read_build(tmp_path / "out")["files"]
    assert ("earlier" in files) == (moment != "after the exchange")
    assert "Traceback" not in done.stderr
    if stop != signal.SIGKILL:
        assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_help_needs_no_pytorch() -> None:
    code = "import sys; from shifthw import cli; cli._parser(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
