"""Independent random streams, one for each phenomenon."""

import hashlib
import hmac
import operator

import numpy as np


def streams(seed: int | str | bytes, name: str) -> np.random.Generator:
    """Return the random generator of the phenomenon `name` in the world `seed`.

    The same pair gives the same draws; another name or seed gives unrelated ones, so that a new phenomenon
    leaves the others as they were. For common random numbers (Law, Simulation Modeling and Analysis, ch. 11),
    draw an array of a stream before the policy acts and read it by index: the draw of call i then does not
    depend on what a policy did before. One array a stream: a longer array starts with the shorter one.

    The generator is PCG64, named here since numpy's default may change. Seeds of different types differ: 7 is
    not "7".

    Raises TypeError where the seed is neither int, str nor bytes.
    """
    if isinstance(seed, bytes):
        tagged = b"bytes:" + seed
    elif isinstance(seed, str):
        tagged = b"str:" + seed.encode()
    else:
        tagged = b"int:" + str(operator.index(seed)).encode()
    # HMAC pads short keys with zeros, so b"a" and b"a\0" would share a stream: hash the seed first.
    digest = hmac.digest(hashlib.sha256(tagged).digest(), name.encode(), "sha256")
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))
