import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from shifthw.emit import bundle
from shifthw.emit.bundle import BadBuild, check_replaceable, read_build, replace_file, write_build
from shifthw.errors import OutputInTheWay

FILES = {"rtl/top.v": b"module top; endmodule\n", "program.bin": bytes(range(256)), "vivado/settings.tcl": b"set a 1\n",
         "report.html": b"<html>"}
OTHER = {"rtl/other.v": b"module other; endmodule\n"}


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    write_build(tmp_path / "build", FILES, {"board": "zc706"})
    manifest = read_build(tmp_path / "build")
    assert manifest["board"] == "zc706"
    assert sorted(manifest["files"]) == sorted(FILES)
    assert [path.name for path in tmp_path.iterdir()] == ["build"]


def test_order_of_the_mapping_does_not_matter(tmp_path: Path) -> None:
    write_build(tmp_path / "a", FILES, {"x": 1, "y": 2})
    write_build(tmp_path / "b", dict(reversed(FILES.items())), {"y": 2, "x": 1})
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_a_new_build_replaces_the_old_one_and_what_was_derived_from_it(tmp_path: Path) -> None:
    folder = tmp_path / "build"
    write_build(folder, FILES, {})
    (folder / "sim.json").write_text("{}")
    (folder / ".sim.json.123").write_text("of a killed simulation")
    write_build(folder, OTHER, {})
    assert sorted(tree(folder)) == ["manifest.json", "rtl/other.v"]


def test_the_same_build_again_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "build"
    write_build(folder, FILES, {})
    (folder / "sim.json").write_text("{}")
    before = folder.stat().st_ino
    write_build(folder, FILES, {})
    assert folder.stat().st_ino == before
    assert (folder / "sim.json").exists()


def test_what_was_measured_outlives_the_same_build_and_no_other(tmp_path: Path) -> None:
    folder = tmp_path / "build"
    write_build(folder, FILES, {})
    (folder / "measured.json").write_text("{}")
    replace_file(folder / "report.html", b"with what was measured")
    read_build(folder)
    write_build(folder, FILES, {})
    assert tree(folder)["report.html"] == b"with what was measured" and (folder / "measured.json").exists()
    write_build(folder, FILES, {"clock_mhz": 100})
    assert tree(folder)["report.html"] == FILES["report.html"] and not (folder / "measured.json").exists()


def test_what_the_driver_leaves_in_a_build_does_not_stop_the_next(tmp_path: Path) -> None:
    folder = tmp_path / "build"
    write_build(folder, {**FILES, "driver/shifthw_driver/cli.py": b""}, {})
    (folder / "driver" / "bench.json").write_text("{}")
    (folder / "driver" / "shifthw_driver" / "__pycache__").mkdir()
    (folder / "driver" / "shifthw_driver" / "__pycache__" / "cli.pyc").write_text("")
    write_build(folder, OTHER, {})
    assert sorted(tree(folder)) == ["manifest.json", "rtl/other.v"]


@pytest.mark.parametrize("name", ["driver/shifthw.bit", "driver/out.npy", "__pycache__/mine.py"])
def test_what_a_user_has_in_a_build_stops_the_next(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "build"
    write_build(folder, {**FILES, "driver/shifthw_driver/cli.py": b""}, {})
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("hours of work")
    with pytest.raises(OutputInTheWay, match="vivado clean` removes" if name.endswith(".bit") else ": move it, or"):
        write_build(folder, OTHER, {})
    assert (folder / name).read_text() == "hours of work"


def test_a_damaged_build_is_not_called_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "build"
    write_build(folder, FILES, {})
    (folder / "program.bin").unlink()
    write_build(folder, FILES, {})
    read_build(folder)


def test_an_empty_folder_may_be_used(tmp_path: Path) -> None:
    (tmp_path / "build").mkdir()
    write_build(tmp_path / "build", FILES, {})
    read_build(tmp_path / "build")


def spoil_with_a_file(folder: Path) -> None:
    folder.write_text("thesis")


def spoil_with_a_foreign_folder(folder: Path) -> None:
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")


def spoil_with_a_foreign_manifest(folder: Path) -> None:
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps({"name": "an app", "files": {}}))


def spoil_with_a_guest(folder: Path) -> None:
    write_build(folder, OTHER, {})
    (folder / "vivado").mkdir()
    (folder / "vivado" / "shifthw.bit").write_text("hours of work")


def spoil_with_an_edit(folder: Path) -> None:
    write_build(folder, OTHER, {})
    (folder / "rtl" / "other.v").write_text("module other; wire mine; endmodule\n")


def spoil_with_a_link(folder: Path) -> None:
    target = folder.with_name("elsewhere")
    target.mkdir()
    folder.symlink_to(target)


def spoil_with_a_link_inside(folder: Path) -> None:
    write_build(folder, OTHER, {})
    (folder / "link").symlink_to(folder.parent)


def spoil_with_an_empty_folder(folder: Path) -> None:
    write_build(folder, OTHER, {})
    (folder / "rtl" / "mine").mkdir()


def spoil_with_a_simulator(folder: Path) -> None:
    write_build(folder, OTHER, {})
    (folder / "simulator").mkdir()
    (folder / "simulator" / "data").write_text("precious")


SPOILERS = [spoil_with_a_file, spoil_with_a_foreign_folder, spoil_with_a_foreign_manifest, spoil_with_a_guest,
            spoil_with_an_edit, spoil_with_a_link, spoil_with_a_link_inside, spoil_with_an_empty_folder,
            spoil_with_a_simulator]


@pytest.mark.parametrize("spoil", SPOILERS, ids=lambda spoil: spoil.__name__)
def test_what_is_not_ours_stays(tmp_path: Path, spoil: object) -> None:
    spoil(tmp_path / "build")
    before = tree(tmp_path)
    with pytest.raises(OutputInTheWay, match="choose another"):
        write_build(tmp_path / "build", FILES, {})
    assert tree(tmp_path) == before


@pytest.mark.parametrize("step", ["_write_tree", "exchange", "_sync_folder"])
@pytest.mark.parametrize("had_old", [False, True])
def test_a_failure_leaves_the_old_build_or_nothing(
    tmp_path: Path, step: str, had_old: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "build"
    if had_old:
        write_build(folder, OTHER, {})
    before = tree(tmp_path)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bundle, step, interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_build(folder, FILES, {})
    assert tree(tmp_path) == before


KILLED = """
import os, signal, sys
from pathlib import Path
from shifthw.emit import bundle

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

count = int(sys.argv[2])
real = os.fsync
def fsync(handle):
    global count
    count -= 1
    if count < 0:
        die()
    real(handle)
bundle.os.fsync = fsync
bundle.write_build(Path(sys.argv[1]), {"rtl/top.v": b"x" * 100, "program.bin": bytes(256)}, {})
"""


@pytest.mark.parametrize("syncs", [0, 1, 3, 5])
@pytest.mark.parametrize("had_old", [False, True])
def test_a_kill_leaves_one_whole_build_or_nothing(tmp_path: Path, syncs: int, had_old: bool) -> None:
    folder = tmp_path / "build"
    if had_old:
        write_build(folder, OTHER, {})
    ended = subprocess.run([sys.executable, "-c", KILLED, str(folder), str(syncs)], check=False)
    assert ended.returncode == -signal.SIGKILL
    if folder.exists():
        assert sorted(read_build(folder)["files"]) in (sorted(OTHER), ["program.bin", "rtl/top.v"])
    else:
        assert not had_old
    write_build(folder, FILES, {})
    assert [path.name for path in tmp_path.iterdir()] == ["build"]


@pytest.mark.parametrize(("damage", "message"), [
    (lambda folder: (folder / "program.bin").write_bytes(b"short"), "program.bin was changed"),
    (lambda folder: (folder / "rtl/top.v").unlink(), "rtl/top.v is missing"),
    (lambda folder: (folder / "manifest.json").unlink(), "build first"),
    (lambda folder: (folder / "manifest.json").write_text("{"), "build first"),
    (lambda folder: (folder / "manifest.json").write_text("[" * 100_000), "build first"),
    (lambda folder: (folder / "manifest.json").write_bytes(b"\xff\xfe"), "build first"),
    (lambda folder: (folder / "rtl/evil.v").write_text("module evil; endmodule\n"), "rtl/evil.v is not from the build"),
    (lambda folder: (folder / "rtl/more").mkdir(), "rtl/more is not from the build"),
    (lambda folder: (folder / "rtl/top.v").rename(folder / "elsewhere.v"), "rtl/top.v is missing"),
])
def test_a_damaged_build_is_named(tmp_path: Path, damage: object, message: str) -> None:
    write_build(tmp_path / "build", FILES, {})
    damage(tmp_path / "build")
    with pytest.raises(BadBuild, match=message):
        read_build(tmp_path / "build")


@pytest.mark.parametrize("path", ["../other", "/etc/hostname", "rtl/../../other", "rtl//top.v", ".", "", "a\0b"])
@pytest.mark.parametrize("use", [read_build, check_replaceable])
def test_a_manifest_that_leaves_the_folder_is_refused(tmp_path: Path, path: str, use: object) -> None:
    (tmp_path / "other").write_text("outside")
    write_build(tmp_path / "build", FILES, {})
    list_in_manifest(tmp_path / "build", path, "0" * 64)
    with pytest.raises(BadBuild, match="paths inside the folder"):
        use(tmp_path / "build")


def test_a_digest_must_be_text(tmp_path: Path) -> None:
    write_build(tmp_path / "build", FILES, {})
    list_in_manifest(tmp_path / "build", "program.bin", 5)
    with pytest.raises(BadBuild, match="SHA-256 of program.bin, not 5"):
        read_build(tmp_path / "build")


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    write_build(tmp_path / "build", FILES, {})
    (tmp_path / "build" / "rtl").rename(tmp_path / "rtl")
    (tmp_path / "build" / "rtl").symlink_to(tmp_path / "rtl")
    with pytest.raises(BadBuild, match="rtl/top.v must be inside the folder"):
        read_build(tmp_path / "build")


def test_what_is_needed_must_be_listed(tmp_path: Path) -> None:
    write_build(tmp_path / "build", FILES, {})
    read_build(tmp_path / "build", ("program.bin",))
    with pytest.raises(BadBuild, match="must list model.pt"):
        read_build(tmp_path / "build", ("program.bin", "model.pt"))


def list_in_manifest(folder: Path, path: str, digest: object) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][path] = digest
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("place", ["file/build", "file/a/build", "x" * 300, "x" * 250, "/".join(["x" * 200] * 25),
                                   "new/" + "x" * 300 + "/build", "/proc/build"])
def test_a_place_that_cannot_hold_a_build_is_named_at_once(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputInTheWay, match="choose another"):
        check_replaceable(tmp_path / place)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_dots_in_the_path_mean_the_folder_they_lead_to(tmp_path: Path) -> None:
    (tmp_path / "beside").mkdir()
    write_build(tmp_path / "beside" / ".." / "build", FILES, {})
    read_build(tmp_path / "build")
