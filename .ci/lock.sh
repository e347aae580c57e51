#!/usr/bin/env bash
# Compiles the lock: one version of everything for Python 3.11 to 3.13, so that all machines make the same worlds.
set -euo pipefail
uv=$1
compile() { "$uv" pip compile -q --upgrade --universal --fork-strategy fewest --python-version 3.11 --no-header --no-annotate pyproject.toml "$@"; }
compile -o requirements.txt
all=$(mktemp)
compile --extra test -c requirements.txt -o "$all"
{
  echo "# What the tests need beyond requirements.txt (compiled with it by make lock)."
  echo "-r requirements.txt"
  comm -13 <(sort requirements.txt) <(sort "$all")
} >requirements-test.txt
rm -f "$all"
