"""The access log's hash chain: each entry carries a digest of itself and of the entry before it.

Whoever changes an entry has to change all that follow; an anchor (the last digest of a day, kept elsewhere) shows even that.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

FIRST = "0" * 64
FIELDS = ("seq", "logged_at", "person_id", "role", "kinds", "decision", "said_version", "previous_hash")


def entry_hash(entry: Mapping[str, Any]) -> str:
    """SHA-256 (hexadecimal) over the fields of an entry of ops.access_log, FIELDS joined by "|"; ``kinds`` sorted and joined by
    ",", ``logged_at`` as YYYY-MM-DD HH:MM:SS."""
    parts = []
    for field in FIELDS:
        value = entry[field]
        if field == "kinds":
            value = ",".join(sorted(value))
        elif field == "logged_at":
            value = str(value)[:19].replace("T", " ")
        parts.append(str(value))
    return hashlib.sha256("|".join(parts).encode()).hexdigest()
