#!/usr/bin/env bash
# Makes the virtual environment and installs the lock into it; says what the system lacks and installs it where it may.
#   setup.sh runtime VENV    what learners and instructors need
#   setup.sh dagster VENV    what the notebook on Dagster needs on top
#   setup.sh sandbox VENV    what grading needs of the system on top
#   setup.sh tests VENV      what the tests need on top
set -euo pipefail
part=$1 venv=$2

apt() { # apt PACKAGE...: installs with apt-get if we may, else says how
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Installing $* (system packages) ..."
    apt-get install -y -qq --no-install-recommends "$@" >/dev/null 2>&1 ||
      { apt-get update -qq >/dev/null && apt-get install -y -qq --no-install-recommends "$@" >/dev/null; }
  else
    echo "This machine lacks $*. Install it (on Debian or Ubuntu: sudo apt-get install $*) and run this again." >&2
    return 1
  fi
}

find_python() {
  local name
  for name in ${PYTHON:-} python3 python3.13 python3.12 python3.11; do
    if command -v "$name" >/dev/null && "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))'; then
      echo "$name"
      return
    fi
  done
  echo "Python 3.11, 3.12 or 3.13 is needed; python3 here is $(python3 --version 2>&1 || echo missing)." >&2
  echo "Install one and run this again, or name it: make lab PYTHON=/path/to/python3.12" >&2
  return 1
}

case $part in
runtime)
  python=$(find_python)
  if ! "$python" -c 'import ensurepip' 2>/dev/null; then
    apt "python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
  fi
  if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    rm -rf "$venv"
    echo "Making the virtual environment $venv ..."
    "$python" -m venv "$venv"
  fi
  echo "Installing the locked packages (a minute or two the first time) ..."
  "$venv/bin/python" -m pip install -q --disable-pip-version-check -r requirements.txt
  "$venv/bin/python" -m pip install -q --disable-pip-version-check --no-deps -e .
  # JupyterLab must not ask the network for news, nor whether there is a newer version.
  mkdir -p "$venv/share/jupyter/lab/settings"
  cp .ci/overrides.json "$venv/share/jupyter/lab/settings/overrides.json"
  touch "$venv/installed"
  ;;
dagster)
  echo "Installing Dagster ..."
  "$venv/bin/python" -m pip install -q --disable-pip-version-check -r requirements-dagster.txt
  touch "$venv/installed-dagster"
  ;;
sandbox)
  [ "$(uname)" != Linux ] || command -v bwrap >/dev/null || apt bubblewrap
  ;;
tests)
  bash "$0" sandbox "$venv"
  echo "Installing what the tests need ..."
  "$venv/bin/python" -m pip install -q --disable-pip-version-check -r requirements-test.txt
  command -v chromium >/dev/null || command -v chromium-browser >/dev/null || apt chromium
  # What looks for pages that a screen reader or a keyboard cannot use.
  command -v npm >/dev/null || apt npm
  npm install --silent --no-audit --no-fund --no-save --prefix "$venv/axe" axe-core@4.14.1 >/dev/null
  touch "$venv/installed-tests"
  ;;
*)
  echo "usage: setup.sh runtime|dagster|sandbox|tests VENV" >&2
  exit 2
  ;;
esac
