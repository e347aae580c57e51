"""The simulated company: built from a seed and a scale, cached, opened read-only."""

from workshop.world.build import GENERATOR_FILES, generator_version, subjects
from workshop.world.cache import WorldFiles, ensure_world, find_world
from workshop.world.seeds import derive_seed, opaque_name, practice_seed, seed_from_hex, stream_keys

__all__ = [
    "GENERATOR_FILES",
    "WorldFiles",
    "derive_seed",
    "ensure_world",
    "find_world",
    "generator_version",
    "opaque_name",
    "practice_seed",
    "seed_from_hex",
    "stream_keys",
    "subjects",
]
