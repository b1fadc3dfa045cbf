"""Program: what an engine runs, and how images and results look on its wires."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .arch import ArrayConfig
from .errors import BadImages, BadModelFile
from .isa import InstructionLayout, Section
from .tensor_layout import TensorLayout

_FORMAT = 1


@dataclass(frozen=True)
class LayerReport:
    """One row of the per-layer table."""

    name: str
    kind: str
    output: str
    instructions: int
    steps: int
    """Cycles with a step of the array, per batch (reduce steps included)."""
    cycles: int
    """Cycles of its instructions per batch, the gaps before them included."""
    macs: int
    """Multiply-accumulates per image, one per weight term, counted as usual: taps on padding included."""
    busy: float
    """Useful lanes of all lanes over the layer's cycles, 0..1."""
    copy: str = ""
    """Why the layer is there, if the compiler added it only to move values; "" if it is the network's."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Program:
    """A compiled network for one ArrayConfig.

    The memory words are uint8[words, bytes], little-endian, ceil(word bits / 8) bytes each.
    """

    name: str
    config: ArrayConfig
    instructions: tuple[int, ...]
    targets: tuple[str, ...]
    """Per instruction the tensor that it writes, or ""."""
    step_words: np.ndarray
    weight_words: np.ndarray
    start_words: np.ndarray
    scale_words: np.ndarray
    source: TensorLayout
    result: TensorLayout
    result_shape: tuple[int, int, int]
    """Shape of an output: the result's, or that of its flattening."""
    tensors: dict[str, TensorLayout]
    layers: tuple[LayerReport, ...]
    rows_used: int
    """Feature rows that the tensors need; config.feature_rows may offer more."""
    cycles_prologue: int
    """Cycles before the first batch."""
    cycles_per_batch: int
    """Cycles per batch of config.images images, stalls not counted."""
    metadata: dict[str, object] = field(default_factory=dict)
    table_words: np.ndarray = field(default_factory=lambda: np.zeros((0, 1), np.uint8))

    def cycles(self, batches: int) -> int:
        """Exact cycles of `batches` batches, stalls not counted."""
        return self.cycles_prologue + batches * self.cycles_per_batch

    @property
    def busy(self) -> float:
        """Useful multiply-accumulates of a batch per lane and cycle, 0..1."""
        macs = sum(layer.macs for layer in self.layers) * self.config.images
        return macs / (self.cycles_per_batch * self.config.lanes)

    def batches(self, images: int) -> int:
        """Batches that `images` images take."""
        return -(-images // self.config.images)

    # -- wire formats --------------------------------------------------------------------------
    @property
    def _wire_type(self) -> np.dtype:
        return np.dtype(f"<u{self.config.wire_bits // 8}")

    @property
    def input_row_bytes(self) -> int:
        """Bytes of one row of one image on the wire."""
        beat = self.config.axi_data_bits // 8
        payload = self.config.pixels * self.config.input_channels * self.config.wire_bits // 8
        return -(-payload // beat) * beat

    @property
    def output_row_bytes(self) -> int:
        """Bytes of one row of one image of a result on the wire: a power of two."""
        payload = self.config.output_pixels * self.config.simd * self.config.wire_bits // 8
        return max(self.config.axi_data_bits // 8, 1 << (payload - 1).bit_length())

    @property
    def input_batch_bytes(self) -> int:
        return self.config.images * self.source.rows * self.input_row_bytes

    @property
    def output_batch_bytes(self) -> int:
        return self.config.images * self.result.rows * self.output_row_bytes

    def pack_inputs(self, images: np.ndarray) -> bytes:
        """Integer images [n, c, h, w] as whole batches on the wire; missing images are 0. BadImages if unfit."""
        images = np.asarray(images)
        self._check(images)
        short = self.batches(len(images)) * self.config.images - len(images)
        rows = self.source.scatter(np.pad(images, ((0, short), (0, 0), (0, 0), (0, 0))))
        codes = (rows & ((1 << self.config.wire_bits) - 1)).astype(self._wire_type)
        payload = codes.reshape(len(codes), self.source.rows, -1).view(np.uint8)
        return np.pad(payload, ((0, 0), (0, 0), (0, self.input_row_bytes - payload.shape[2]))).tobytes()

    def _check(self, images: np.ndarray) -> None:
        dtype = self.source.dtype
        if images.dtype.kind not in "iu":
            raise BadImages(f"{self.source.name}: images are {images.dtype}, must be integers: quantize them")
        if images.ndim != 4 or images.shape[1:] != self.source.shape or not len(images):
            raise BadImages(f"{self.source.name}: images are {images.shape}, must be (n, "
                            f"{', '.join(map(str, self.source.shape))}) with n >= 1")
        if images.min() < dtype.lo or images.max() > dtype.hi:
            raise BadImages(f"{self.source.name}: images hold {images.min()}..{images.max()}, must be within "
                            f"{dtype.lo}..{dtype.hi}: quantize them")

    def unpack_outputs(self, data: bytes, images: int) -> np.ndarray:
        """The results of `images` images, int64[images, c, h, w], from the wire bytes of all their batches."""
        need = self.batches(images) * self.output_batch_bytes
        if len(data) != need:
            raise BadImages(f"{self.result.name}: {len(data)} bytes of results, must be {need} for {images} images")
        c = self.config
        records = np.frombuffer(data, np.uint8).reshape(-1, self.result.rows, c.images, self.output_row_bytes)
        payload = np.ascontiguousarray(records[..., :c.output_pixels * c.simd * c.wire_bits // 8])
        codes = payload.view(self._wire_type).reshape(len(records), self.result.rows, c.images, c.output_pixels, c.simd)
        rows = codes.transpose(0, 2, 1, 3, 4).reshape(-1, self.result.rows, c.output_pixels, c.simd)
        return self.result.gather(rows).reshape(-1, *self.result_shape)[:images]

    # -- program image -------------------------------------------------------------------------
    def image(self) -> bytes:
        """The program image that the engine loads, with its checksum."""
        beat = self.config.axi_data_bits // 8
        parts = []
        for section, words in self._sections():
            if len(words):
                parts.append(_record(section, len(words), beat))
                parts.append(np.pad(words, ((0, 0), (0, -words.shape[1] % beat))).tobytes())
        parts.append(_record(Section.END, 0, beat))
        body = b"".join(parts)
        a, b = checksum(body)
        return body + a.to_bytes(4, "little") + b.to_bytes(4, "little") + bytes(max(0, beat - 8))

    def _sections(self) -> list[tuple[Section, np.ndarray]]:
        size = -(-InstructionLayout(self.config).width // 8)
        text = b"".join(word.to_bytes(size, "little") for word in self.instructions)
        return [(Section.INSTRUCTION, np.frombuffer(text, np.uint8).reshape(-1, size)),
                (Section.STEP, self.step_words), (Section.WEIGHT, self.weight_words),
                (Section.START, self.start_words), (Section.SCALE, self.scale_words),
                *([(Section.TABLE, self.table_words)] if self.config.tables else [])]

    def listing(self) -> str:
        """The instructions as text, one per line."""
        layout = InstructionLayout(self.config)
        return "".join(f"{i:4d} {layout.disassemble(word)}{f'  ; {target}' if target else ''}\n"
                       for i, (word, target) in enumerate(zip(self.instructions, self.targets, strict=True)))

    # -- files ---------------------------------------------------------------------------------
    def files(self) -> dict[str, bytes]:
        """program.bin (the image) and program.json (everything else); the same bytes for the same program."""
        return {"program.bin": self.image(), "program.json": (json.dumps(self._manifest(), indent=1) + "\n").encode()}

    def save(self, folder: Path) -> None:
        """Write `files` into an existing folder."""
        for name, content in self.files().items():
            (folder / name).write_bytes(content)

    def _manifest(self) -> dict[str, object]:
        return {
            "format": _FORMAT, "name": self.name, "digest": self.config.digest, "config": self.config.to_json(),
            "words": {section.name: list(words.shape) for section, words in self._sections()},
            "targets": list(self.targets), "source": self.source.name, "result": self.result.name,
            "result_shape": list(self.result_shape),
            "tensors": {name: tensor.to_json() for name, tensor in self.tensors.items()},
            "layers": [{key: value for key, value in vars(layer).items() if key != "copy" or value}
                       for layer in self.layers], "rows_used": self.rows_used,
            "cycles_prologue": self.cycles_prologue, "cycles_per_batch": self.cycles_per_batch,
            "metadata": self.metadata,
        }

    @classmethod
    def load(cls, folder: Path) -> "Program":
        """The program that `save` wrote. BadModelFile if the two files are damaged or do not belong together."""
        try:
            manifest = json.loads((folder / "program.json").read_bytes())
            image = (folder / "program.bin").read_bytes()
        except (OSError, ValueError) as error:
            raise BadModelFile(f"{folder}: not a compiled program ({error}): compile the model again") from error
        if manifest.get("format") != _FORMAT:
            raise BadModelFile(f"{folder}: program format is {manifest.get('format')}, must be {_FORMAT}: recompile")
        config = ArrayConfig.from_json(manifest["config"])
        memories = _read_sections(image, manifest["words"], config.axi_data_bits // 8)
        tensors = {name: TensorLayout.from_json(values) for name, values in manifest["tensors"].items()}
        program = cls(
            name=manifest["name"], config=config, targets=tuple(manifest["targets"]),
            instructions=tuple(int.from_bytes(word.tobytes(), "little") for word in memories["INSTRUCTION"]),
            step_words=memories["STEP"], weight_words=memories["WEIGHT"], start_words=memories["START"],
            scale_words=memories["SCALE"], tensors=tensors, source=tensors[manifest["source"]],
            result=tensors[manifest["result"]], result_shape=tuple(manifest["result_shape"]),
            layers=tuple(LayerReport(**values) for values in manifest["layers"]), rows_used=manifest["rows_used"],
            cycles_prologue=manifest["cycles_prologue"], cycles_per_batch=manifest["cycles_per_batch"],
            metadata=manifest["metadata"], table_words=memories.get("TABLE", np.zeros((0, 1), np.uint8)))
        if program.image() != image:
            raise BadModelFile(f"{folder}: program.bin does not belong to program.json: compile the model again")
        return program


def checksum(data: bytes) -> tuple[int, int]:
    """Sums a and b over the 32-bit little-endian words w: a += w; b += a, modulo 2**32, from 0."""
    words = np.frombuffer(data, "<u4").astype(np.uint64)
    a = np.cumsum(words, dtype=np.uint64) & np.uint64(0xFFFFFFFF)
    total = int(a[-1]) if len(a) else 0
    return total, int(np.sum(a, dtype=np.uint64)) & 0xFFFFFFFF


def _record(section: Section, words: int, beat: int) -> bytes:
    return (int(section) | words << 32).to_bytes(max(8, beat), "little")


def _read_sections(image: bytes, shapes: dict[str, list[int]], beat: int) -> dict[str, np.ndarray]:
    memories, offset = {}, 0
    for name, (words, size) in shapes.items():
        memories[name] = np.zeros((0, size), np.uint8)
        if words:
            padded = -(-size // beat) * beat
            start = offset + max(8, beat)
            offset = start + words * padded
            memories[name] = np.frombuffer(image[start:offset].ljust(words * padded, b"\0"),
                                           np.uint8).reshape(words, padded)[:, :size].copy()
    return memories
