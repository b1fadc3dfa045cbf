"""Self-checks: the memory path before the first inference, and the golden vectors."""

from typing import Dict, List

import numpy as np

from .accelerator import Accelerator
from .errors import MemoryFault
from .job import Job

POISON = 0xA5
"""Fills the results' buffer before the test: what still holds it was never written."""


def check_memory(accelerator: Accelerator) -> str:
    """Loads patterns over all bits of the bus, which the engine compares by their checksum, then moves some through the
    engine and back; EngineError or MemoryFault tell what is wrong."""
    job = accelerator.folder.memory_test
    accelerator.engine.load(job)
    accelerator.place(job, job.images)
    accelerator.poison(POISON)
    accelerator.run_placed(job.batches(len(job.images)))
    outputs = accelerator.results(job, len(job.images))
    wrong = outputs != job.outputs
    bits = accelerator.folder.settings.axi_data_bits
    if wrong.any():
        raise MemoryFault(_diagnosis(job, outputs, wrong, bits))
    written = 8 * job.wire.itemsize * len(_lanes(job.output_map, job, bits))
    return (f"{len(job.program):,} bytes read over all {bits} bits of the bus, {job.outputs.size:,} codes moved "
            f"through the engine and written in {written} of them")


def check_golden(accelerator: Accelerator) -> Dict[str, object]:
    """Classifies the golden images of the folder and compares every integer."""
    job = accelerator.folder.network
    outputs, counted = accelerator.execute(job, job.images)
    wrong = outputs != job.outputs
    first = None
    if wrong.any():
        index = tuple(int(i) for i in np.argwhere(wrong)[0])
        first = {"image": index[0], "index": list(index[1:]), "expected": int(job.outputs[index]),
                 "actual": int(outputs[index])}
    working = sum(run.working_cycles for run in counted)
    predicted = sum(job.cycles(run.batches) for run in counted)
    return {"images": len(job.images), "bit_exact": first is None, "first_mismatch": first, "cycles": working,
            "stall_cycles": sum(run.stall_cycles for run in counted), "cycles_predicted": predicted,
            "cycles_as_predicted": working == predicted}


def _diagnosis(job: Job, outputs: np.ndarray, wrong: np.ndarray, bus_bits: int) -> str:
    poison = (POISON * 0x0101010101010101) & ((1 << job.output.bits) - 1)
    share = f"{int(wrong.sum()):,} of {wrong.size:,} codes come back wrong"
    if (outputs[wrong] == poison).all():
        return (f"memory test: {share}, as if they were never written: the processor must see what the engine wrote; "
                "check the address map, and that the buffers' caches are kept in step")
    code = np.broadcast_to(job.output_map, (len(outputs), job.output_map.size))[wrong.reshape(len(outputs), -1)]
    lanes, used = (_lanes(codes, job, bus_bits) for codes in (code, job.output_map))
    if len(lanes) < len(used):
        places = ", ".join(f"{8 * lane}..{8 * (lane + job.wire.itemsize) - 1}" for lane in lanes[:8])
        return (f"memory test: {share}, all of them written in the bits {places} of the bus: the processor's memory "
                f"port must be {bus_bits} bits wide, as built; a boot loader may have set it otherwise")
    return (f"memory test: {share}, in all bits that are written: the memory path must be reliable; check the clock, "
            "the power supply, and that nothing else uses the buffers")


def _lanes(codes: np.ndarray, job: Job, bus_bits: int) -> List[int]:
    """First bytes, in a beat of the bus, of codes on the wire."""
    return sorted(set((codes * job.wire.itemsize % (bus_bits // 8)).tolist()))
