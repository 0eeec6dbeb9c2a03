#!/usr/bin/env bash
# An authorization server that others wrote (oidc-provider), for the live tests, on loopback.
#
#   oidc.sh start <workdir> <port>   installs and starts what is missing; prints OIDC_URL
#   oidc.sh stop <workdir>           ends it; it keeps nothing
#
# NODE names the Node.js that runs it, where that is not the one on the path.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$HERE/common.sh"

VERSION=9.13.3

install_package() {
  [ "$(cat "$WORK/npm/.installed" 2>/dev/null)" = "$VERSION" ] && return 0
  say "installing oidc-provider into $WORK/npm"
  mkdir -p "$WORK/npm"
  npm install --prefix "$WORK/npm" --no-save --no-fund --no-audit --loglevel=error "oidc-provider@$VERSION" >&2 ||
    die "npm could not install oidc-provider"
  echo "$VERSION" > "$WORK/npm/.installed"
}

start() {
  open_workdir "$1"; local port=$2
  install_package
  if is_running oidc && [ "$(cat "$WORK/oidc.port" 2>/dev/null)" != "$port" ]; then end_process oidc; fi
  if ! is_running oidc; then
    port_is_free "$port" || die "port $port is taken"
    cp "$HERE/oidc_serve.mjs" "$WORK/npm/serve.mjs" # beside the packages that it imports
    run_behind oidc "${NODE:-node}" "$WORK/npm/serve.mjs" "$port" "$HERE/../../crates/sdk/tests/keys/rsa.pem"
    echo "$port" > "$WORK/oidc.port"
  fi
  await_http oidc "http://127.0.0.1:$port/.well-known/openid-configuration"
  echo "OIDC_URL=http://127.0.0.1:$port"
}

stop() { open_workdir "$1"; end_process oidc; }

case "${1:-} $#" in
  "start 3") start "$2" "$3" ;;
  "stop 2" | "stop 3") stop "$2" ;;
  *) die "use: oidc.sh start <workdir> <port> | oidc.sh stop <workdir>" ;;
esac
