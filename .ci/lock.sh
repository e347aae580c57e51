#!/usr/bin/env bash
# Compiles the lock: one version of everything for Python 3.11 to 3.13, so that all machines make the same worlds.
# Versions that are locked stay; UPGRADE=1 takes newer ones.
set -euo pipefail
uv=$1
compile() {
  "$uv" pip compile -q ${UPGRADE:+--upgrade} --universal --fork-strategy fewest --python-version 3.11 --no-header --no-annotate pyproject.toml "$@"
}
beyond() { # beyond FILE WHAT EXTRA...: what some extras need beyond requirements.txt
  local file=$1 what=$2 all
  shift 2
  all=$(mktemp)
  compile "${@/#/--extra=}" -c requirements.txt -c <(grep -v '^-r' "$file" 2>/dev/null || true) -o "$all"
  {
    echo "# What $what beyond requirements.txt (compiled with it by make lock)."
    echo "-r requirements.txt"
    comm -13 <(sort requirements.txt) <(sort "$all")
  } >"$file.part"
  mv "$file.part" "$file"
  rm -f "$all"
}
compile -o requirements.txt
beyond requirements-cluster.txt "grading on a Dask cluster needs" cluster
beyond requirements-dagster.txt "the lesson on Dagster needs" dagster
beyond requirements-test.txt "the tests need" test cluster dagster
