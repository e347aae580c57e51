"""Seeds and stream keys.

A world is made from one 128-bit seed. Each random stream has a key of its own, HMAC-SHA256(seed, purpose/stream), so a
key that somebody worked out from the rows of one stream gives away neither the seed nor any other stream. Streams of the
truth have another purpose than streams that show in the world.
"""

import hashlib
import hmac
import re

from workshop.errors import UsageError

SEED_BYTES = 16
PRACTICE_NAME = re.compile(r"practice-[a-z0-9][a-z0-9-]{0,30}")


def practice_seed(name: str) -> bytes:
    """The public seed (16 bytes) of a practice world such as ``practice-7``. Raises UsageError for other names."""
    if not isinstance(name, str) or not PRACTICE_NAME.fullmatch(name):
        raise UsageError(
            f"There is no world called {name!r} here. Practice worlds are called practice-1, practice-2, and so on: "
            'set WORLD = "practice-7" in the first cell.'
        )
    return hashlib.sha256(f"kestrel/{name}".encode()).digest()[:SEED_BYTES]


def seed_from_hex(text: str) -> bytes:
    """16 bytes from 32 hexadecimal digits. Raises UsageError for anything else."""
    if not re.fullmatch(r"[0-9a-fA-F]{32}", text or ""):
        raise UsageError(f"A seed is 32 hexadecimal digits (128 bits); this has {len(text or '')}: {text!r}.")
    return bytes.fromhex(text)


def derive_seed(seed: bytes, purpose: str) -> bytes:
    """A further seed (16 bytes) for ``purpose``: HMAC-SHA256(seed, purpose), cut to 128 bits."""
    return hmac.new(seed, b"seed/" + purpose.encode(), hashlib.sha256).digest()[:SEED_BYTES]


def opaque_name(seed: bytes) -> str:
    """The name under which a sandbox sees a world: tells nothing of its seed."""
    return "w-" + hmac.new(seed, b"name", hashlib.sha256).hexdigest()[:20]


def stream_keys(seed: bytes, streams: set[str], *, hidden: bool) -> dict[str, str]:
    """Key (32 hexadecimal digits) by stream; ``hidden`` keys are for what must not show in the world."""
    purpose = b"truth/" if hidden else b"world/"
    return {s: hmac.new(seed, purpose + s.encode(), hashlib.sha256).hexdigest()[:32] for s in sorted(streams)}
