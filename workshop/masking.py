"""Masks, and the functions that the query gateway offers for them: keyed, so that whoever has no key cannot try values.

A view's text is there to read for whoever may read the view. So the key is in none: the gateway registers functions that have
it, and a view calls them by the name of its environment.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from datetime import date

import duckdb

ENVIRONMENTS = ("dev", "test", "analytics", "training")
MASKS = ("keep", "withhold", "fixed", "partial", "generalise", "hash", "keyed", "keyed_format")
# What a fixed mask writes, by kind: of the shape that applications validate.
FIXED = {
    "person_name": "Sam Sample",
    "email": "someone@masked.example",
    "phone": "+10000000000",
    "postal_address": "1 Sample Street",
    "birth_date": date(1970, 1, 1),
    "national_id": "00000000T",
    "bank_account": "DE02000000000000000000",
    "card_number": "4000000000000002",
    "ip_address": "192.0.2.1",
}


def digest(key: str, value: str) -> bytes:
    """HMAC-SHA256 (RFC 2104) of a value under a key."""
    return hmac.digest(key.encode(), value.encode(), "sha256")


def keyed(key: str, value: str) -> str:
    """32 hexadecimal digits: equal for equal values."""
    return digest(key, value).hex()[:32]


def keyed_email(key: str, value: str) -> str:
    """An address of e-mail, equal for equal values."""
    return f"u{digest(key, value).hex()[:20]}@masked.example"


def keyed_phone(key: str, value: str) -> str:
    """A phone number in E.164 form with a country code that nobody has, equal for equal values."""
    return f"+999{int.from_bytes(digest(key, value)[:8], 'big') % 10**11:011d}"


def keyed_shape(key: str, value: str) -> str:
    """The value with other digits: letters, blanks and length stay. Equal for equal values; two values may become one."""
    stream = digest(key, value) + digest(key, value + "/2")
    return "".join(str(stream[k % len(stream)] % 10) if c.isdigit() else c for k, c in enumerate(value))


FUNCTIONS: Mapping[str, Callable[[str, str], str]] = {
    "keyed": keyed,
    "keyed_email": keyed_email,
    "keyed_phone": keyed_phone,
    "keyed_shape": keyed_shape,
}


def register(con: duckdb.DuckDBPyConnection, keys: Mapping[str, str]) -> None:
    """Makes keyed(environment, value), keyed_email, keyed_phone and keyed_shape callable in SQL. ``keys``: by environment. Null
    stays null; an unknown environment raises."""
    for name, function in FUNCTIONS.items():
        con.create_function(name, _with_keys(function, keys), ["VARCHAR", "VARCHAR"], "VARCHAR", type="native")


def _with_keys(function: Callable[[str, str], str], keys: Mapping[str, str]) -> Callable[[str, str], str]:
    def call(environment: str, value: str) -> str:
        if environment not in keys:
            raise ValueError(f"there is no environment {environment!r}")
        return function(keys[environment], value)

    return call


def masked(mask: str, kind: str, value: object, key: str) -> object:
    """The value under a mask, as the lab's table has it. Raises ValueError for a mask that does not exist."""
    if mask not in MASKS:
        raise ValueError(f"there is no mask {mask!r}")
    if value is None or mask == "withhold":
        return None
    text = str(value)
    if mask == "fixed":
        return FIXED.get(kind)
    if mask == "partial":
        return "*" * max(0, len(text) - 4) + text[-4:]
    if mask == "generalise":
        return generalised(kind, value)
    if mask == "hash":
        return hashlib.sha256(text.encode()).hexdigest()
    if mask == "keyed":
        return keyed(key, text)
    if mask == "keyed_format":
        return {"email": keyed_email, "phone": keyed_phone}.get(kind, keyed_shape)(key, text)
    return value


def generalised(kind: str, value: object) -> object:
    """Less of a value: dates and years of birth to the first of their decade, postcodes to their first digit; else the value."""
    if kind == "birth_date" and isinstance(value, date):
        return date(value.year // 10 * 10, 1, 1)
    if kind == "birth_year":
        return int(str(value)) // 10 * 10
    if kind == "postcode":
        return str(value)[:1]
    return value
