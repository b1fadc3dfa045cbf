"""Files of torch.save, looked at before torch unpacks them."""

import io
import zipfile

ZIP_MAGIC = b"PK\x03\x04"
"""By which torch.load knows an archive."""


def is_packed(content: bytes) -> bool:
    """Whether a file is an archive that unpacks to more than it holds, or that cannot be listed.

    torch.save compresses nothing; a compressed archive of a megabyte may fill gigabytes of memory.
    """
    if not content.startswith(ZIP_MAGIC):
        return False
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return sum(member.file_size for member in archive.infolist()) > len(content)
    except Exception:  # zipfile raises half a dozen types for damaged archives
        return True
