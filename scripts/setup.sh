# Sourced by scripts/demo, scripts/test and scripts/lessons: the virtual environment and what goes into it.
# After `prepare app`, `prepare test` or `prepare lessons`, $PY is a Python with everything that needs.
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
VENV="${SCICEVPR_VENV:-$ROOT/.venv}"
PY="$VENV/bin/python"

say() { printf '\033[1m==> %s\033[0m\n' "$*" >&2; }
fail() { printf 'ERROR: %s\n' "$*" >&2; exit 1; }

# Debian packages, where this user may install them; otherwise says what to do. Never fails.
debian() {
  command -v apt-get >/dev/null 2>&1 || return 1
  local run=""
  if [ "$(id -u)" != 0 ]; then
    if command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then run="sudo -n"; else return 1; fi
  fi
  say "installing with apt: $*"
  if [ -z "${APT_UPDATED:-}" ]; then $run apt-get update -qq >/dev/null 2>&1 || true; APT_UPDATED=1; fi
  $run env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null 2>&1
}

find_python() {
  local candidate
  for candidate in python3.13 python3.12 python3.11 python3; do
    if command -v "$candidate" >/dev/null 2>&1 &&
      "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
      echo "$candidate"; return
    fi
  done
  fail "Python 3.11, 3.12 or 3.13 is needed and none was found. Install one (Debian: apt-get install python3 python3-venv)."
}

make_venv() {
  [ -x "$PY" ] && "$PY" -m pip --version >/dev/null 2>&1 && return
  local python; python="$(find_python)"
  say "creating the virtual environment $VENV with $python"
  rm -rf "$VENV"
  if ! "$python" -m venv "$VENV" >/dev/null 2>&1; then
    rm -rf "$VENV"
    debian python3-venv || fail "python3 -m venv does not work here. Install it (Debian: apt-get install python3-venv) and run this again."
    "$python" -m venv "$VENV" || fail "python3 -m venv still does not work; see above."
  fi
}

# prepare app | prepare test | prepare lessons
prepare() {
  make_venv
  local stamp="$VENV/.installed-$1" wanted
  wanted="$(cat "$ROOT/requirements.txt" "$ROOT/pyproject.toml" | cksum) $ROOT"
  [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && return
  local target="$ROOT"
  [ "$1" = test ] && target="$ROOT[train,dev]"
  [ "$1" = lessons ] && target="$ROOT[lessons]"
  say "installing Python packages (a few minutes the first time)"
  "$PY" -m pip install --quiet --disable-pip-version-check -r "$ROOT/requirements.txt" -e "$target" ||
    fail "pip could not install the packages. Check the network or the package index, then run this again; nothing is lost."
  echo "$wanted" > "$stamp"
}
