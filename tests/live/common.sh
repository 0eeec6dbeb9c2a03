# Read by the other scripts of this folder; not run by itself.

say() { printf '%s\n' "$*" >&2; }
die() { say "$(basename "$0"): $*"; exit 1; }

# open_workdir <dir>: the folder that everything of one instance lives in; sets WORK to its absolute path.
open_workdir() {
  mkdir -p "$1" || die "cannot make the folder $1"
  WORK=$(cd "$1" && pwd)
}

# make_venv <requirement>...: a Python environment at $WORK/venv with exactly these packages at its top.
make_venv() {
  local wanted; wanted=$(printf '%s\n' "$@" | sort)
  [ "$(cat "$WORK/venv/.installed" 2>/dev/null)" = "$wanted" ] && return 0
  say "installing into $WORK/venv (minutes, the first time)"
  [ -x "$WORK/venv/bin/python" ] || python3 -m venv "$WORK/venv" || die "python3 with venv is needed"
  "$WORK/venv/bin/pip" install --quiet --disable-pip-version-check "$@" >&2 || die "pip could not install: $*"
  printf '%s\n' "$wanted" > "$WORK/venv/.installed"
}

# is_running <name>: whether the process that was started under this name still lives and is the same one.
is_running() {
  local pid; pid=$(cat "$WORK/$1.pid" 2>/dev/null) || return 1
  [ -n "$pid" ] && { tr '\0' ' ' < "/proc/$pid/cmdline"; } 2>/dev/null | grep -qF -e "$WORK/venv/bin/" -e "$WORK/npm/"
}

# run_behind <name> <command>...: starts it in a session of its own, with its output in $WORK/<name>.log.
run_behind() {
  local name=$1; shift
  setsid "$@" > "$WORK/$name.log" 2>&1 < /dev/null &
  echo $! > "$WORK/$name.pid"
}

# end_process <name>: asks it to end, and insists after ten seconds.
end_process() {
  local pid tries
  if is_running "$1"; then
    pid=$(cat "$WORK/$1.pid"); kill "$pid" 2>/dev/null || true
    for tries in $(seq 100); do is_running "$1" || break; sleep 0.1; done
    is_running "$1" && kill -9 "$pid" 2>/dev/null
  fi
  rm -f "$WORK/$1.pid"
}

# await_http <name> <url>: until the server answers anything; gives up when its process ends or after a minute.
await_http() {
  local tries
  for tries in $(seq 240); do
    is_running "$1" || { tail -20 "$WORK/$1.log" >&2; die "$1 ended while starting; see $WORK/$1.log"; }
    curl -s -o /dev/null --max-time 20 "$2" && return 0
    sleep 0.25
  done
  die "$1 does not answer at $2; see $WORK/$1.log"
}

# port_is_free <port>, free_port: on loopback.
port_is_free() { python3 -c 'import socket,sys; s=socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("127.0.0.1", int(sys.argv[1])))' "$1" 2>/dev/null; }
free_port() { python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
