"""The output folder of a build: all of it or nothing, the same bytes for the same input, checked when read.

A build is one mapping path -> bytes. `manifest.json` beside those files holds their SHA-256 and marks the folder
as ours; a folder without it, or with anything else inside, is never touched. The hashes tell damage, not origin:
anybody can write a manifest, so that what is read here is checked like any other input.
"""

import glob
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath

from ..errors import OutputInTheWay, ShifthwError
from .exchange import exchange

FORMAT = "shifthw-build-1"
MANIFEST = "manifest.json"
RESULT = "sim.json"
"""What `shifthw sim` adds."""
MEASURED = "measured.json"
"""What `shifthw measure` adds."""
DERIVED = (RESULT, MEASURED, "driver/check.json", "driver/bench.json", "driver/energy.json")
"""What tools add to a build; replaced together with it."""
PAGE = "report.html"
"""What it restates."""
TOOLS = {"make -C {}/vivado clean": ("vivado/", "driver/shifthw."),
         "make -C {}/openflow -f open_flow.mk clean": ("openflow/",)}
"""Command by which a user clears what other tools made in a build folder, and where that is."""
CLOSED = "rtl"
"""Where a build holds nothing but what its manifest lists: a file more would be a part of the design."""


class BadBuild(ShifthwError):
    """The folder is not a build of this tool, or was changed since."""


def to_json(value: object) -> bytes:
    """JSON text as this project writes it: sorted keys, two spaces, one newline at the end."""
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()


def write_build(folder: Path, files: Mapping[str, bytes], about: Mapping[str, object]) -> None:
    """Makes `folder` hold exactly `files` (relative path -> bytes) and a manifest with `about`.

    Other processes see the old folder or the complete new one; a folder that already is this build stays as it
    is. OutputInTheWay, and nothing changed, if there is something at `folder` that this tool did not write.
    Where the system cannot exchange two folders (not Linux, or a file system of its own kind), a process that looks
    at the wrong moment sees none; killed then, the next build puts the old one back.
    """
    check_replaceable(folder)
    manifest = {**about, "format": FORMAT, "files": {path: _digest(files[path]) for path in sorted(files)}}
    if _is_this_build(folder, files, manifest):
        return
    folder = _absolute(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(folder)
    scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.{os.getpid()}-"))
    try:
        new = scratch / "new"
        _write_tree(new, {**files, MANIFEST: to_json(manifest)})
        exchange(folder, new, scratch / "old")
        _sync_folder(folder.parent)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def read_build(folder: Path, needed: Collection[str] = ()) -> dict[str, object]:
    """The manifest of a build whose files are all there and unchanged, those `needed` among them, with nothing else
    in rtl/; BadBuild names the first that is not so."""
    manifest = _manifest(folder)
    if manifest is None:
        raise BadBuild(f"{folder}: must be a folder that `shifthw build` wrote, it has no {MANIFEST} of one: "
                       "build first")
    digests = _digests(folder, manifest)
    if absent := sorted(set(needed) - set(digests)):
        raise BadBuild(f"{folder}: {MANIFEST} must list {absent[0]}: build again into another folder")
    for path, digest in digests.items():
        file = folder / path
        if not file.is_file():
            raise BadBuild(f"{folder}: {path} is missing: build again")
        if not file.resolve().is_relative_to(folder.resolve()):
            raise BadBuild(f"{folder}: {path} must be inside the folder, not a link: build again")
        if not _restated(folder, path) and _digest(file.read_bytes()) != digest:
            raise BadBuild(f"{folder}: {path} was changed since the build: build again into another folder")
    if guests := _guests(folder, digests, folder / CLOSED):
        raise BadBuild(f"{folder}: {guests[0]} is not from the build: move it")
    return manifest


def replace_file(path: Path, data: bytes) -> None:
    """Writes a file that others see whole, or as it was before."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        scratch.write_bytes(data)
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def check_replaceable(folder: Path) -> None:
    """OutputInTheWay unless a build can be written to `folder`, which is absent, empty, or a build with nothing of
    the user's inside."""
    try:
        check_writable(folder)
        _check_ours(folder)
    except OSError as error:
        raise OutputInTheWay(f"{folder}: cannot be used ({error.strerror}): choose another folder with -o") from None


def check_writable(path: Path, option: str = "-o") -> None:
    """OutputInTheWay unless something can be made at `path`, or at the first parent of it that is absent.

    Tried by making a folder beside it: permissions alone do not tell. `option` gives the path on the command line.
    """
    path, longest = _absolute(path), ""
    try:
        while True:
            path, longest = path.parent, max(longest, path.name, key=lambda name: len(os.fsencode(name)))
            if path.exists():
                break
        Path(tempfile.mkdtemp(dir=path, prefix=f".{longest}.{os.getpid()}-")).rmdir()
    except OSError as error:
        where = str(path) if len(str(path)) < 200 else "the path"
        raise OutputInTheWay(f"{where}: cannot hold the output ({error.strerror}): choose another with "
                             f"{option}") from None


def _check_ours(folder: Path) -> None:
    if not folder.exists() and not folder.is_symlink():
        return
    if not folder.is_dir() or folder.is_symlink():
        raise OutputInTheWay(f"{folder}: the output must be a folder: choose another with -o")
    if not any(folder.iterdir()):
        return
    manifest = _manifest(folder)
    if manifest is None:
        raise OutputInTheWay(f"{folder}: must be absent, empty or an earlier build, it holds something else: "
                             "choose another folder with -o")
    digests = _digests(folder, manifest)
    edits = [path for path, digest in digests.items()
             if (folder / path).is_file() and not _restated(folder, path)
             and _digest((folder / path).read_bytes()) != digest]
    if others := [*_guests(folder, digests, folder), *edits]:
        made = [place for place in TOOLS if any(other.startswith(TOOLS[place]) for other in others)]
        clean = "".join(f"`{make.format(folder)}` removes what was made there, or " for make in made)
        raise OutputInTheWay(f"{folder}: {others[0]} is not from the earlier build: {clean or 'move it, or '}choose "
                             "another folder with -o")


def _guests(folder: Path, digests: Collection[str], inside: Path) -> list[str]:
    """What lies below `inside` in a build `folder`, and is no file of the build nor a folder of such: sorted paths."""
    folders = {str(parent) for path in digests for parent in PurePosixPath(path).parents}
    guests = []
    for path in inside.rglob("*"):
        name = path.relative_to(folder).as_posix()
        plain_folder = path.is_dir() and not path.is_symlink()
        if _is_cache(name):
            continue
        derived = name == MANIFEST or name in DERIVED or name.startswith((f".{RESULT}.", f".{MEASURED}."))
        if name not in folders if plain_folder else path.is_symlink() or not derived and name not in digests:
            guests.append(name)
    return sorted(guests)


def _is_cache(name: str) -> bool:
    """Whether Python left it when the driver was run in the build."""
    return name.startswith("driver/") and "__pycache__" in PurePosixPath(name).parts


def _absolute(folder: Path) -> Path:
    """With a last part that is a name, which "." and ".." are not."""
    return folder.resolve() if ".." in folder.parts else folder.absolute()


def _is_this_build(folder: Path, files: Mapping[str, bytes], manifest: dict[str, object]) -> bool:
    """Whether this build is there already; what was measured on a board, and is in its page, is kept then."""
    return _manifest(folder) == manifest and all(
        (folder / path).is_file() and (_restated(folder, path) or (folder / path).read_bytes() == data)
        for path, data in files.items())


def _restated(folder: Path, path: str) -> bool:
    """Whether a file of a build is no longer the build's: a measurement adds to the page of the report."""
    return path == PAGE and (folder / MEASURED).is_file()


def _manifest(folder: Path) -> dict[str, object] | None:
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    ours = isinstance(manifest, dict) and manifest.get("format") == FORMAT and isinstance(manifest.get("files"), dict)
    return manifest if ours else None


def _digests(folder: Path, manifest: dict[str, object]) -> dict[str, str]:
    files = manifest["files"]
    assert isinstance(files, dict)          # _manifest saw to it
    for path, digest in files.items():
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts or pure.as_posix() != path or path == "." or "\0" in path:
            raise BadBuild(f"{folder}: {MANIFEST} must list paths inside the folder, not {path!r}: "
                           "build again into another folder")
        if not isinstance(digest, str):
            raise BadBuild(f"{folder}: {MANIFEST} must hold a SHA-256 of {path}, not {digest!r}: "
                           "build again into another folder")
    return files


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _write_tree(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.mkdir()
    for path in sorted(files):
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as out:
            out.write(files[path])
            out.flush()
            os.fsync(out.fileno())
    for inner in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        _sync_folder(inner)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove_leftovers(folder: Path) -> None:
    """Clears what a killed build left beside `folder`; puts its old build back if it was killed in the exchange."""
    for scratch in folder.parent.glob(f".{glob.escape(folder.name)}.*-*"):
        owner = scratch.name.removeprefix(f".{folder.name}.").split("-")[0]
        if not owner.isdigit() or _alive(int(owner)):
            continue
        if (scratch / "old").is_dir() and not folder.exists():
            (scratch / "old").rename(folder)
        shutil.rmtree(scratch, ignore_errors=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
