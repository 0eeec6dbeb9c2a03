#!/usr/bin/env bash
# A stateful stand-in for Stripe that others wrote (localstripe), for the live tests, on loopback.
#
#   localstripe.sh start <workdir> <port>   installs and starts what is missing; prints STRIPE_URL and STRIPE_KEY
#   localstripe.sh stop <workdir>           ends it; it keeps nothing
#
# Webhooks: POST <STRIPE_URL>/_config/webhooks/<name> with the form fields url and secret.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$HERE/common.sh"

start() {
  open_workdir "$1"; local port=$2
  make_venv localstripe==1.15.10
  if is_running localstripe && [ "$(cat "$WORK/localstripe.port" 2>/dev/null)" != "$port" ]; then end_process localstripe; fi
  if ! is_running localstripe; then
    port_is_free "$port" || die "port $port is taken"
    run_behind localstripe "$WORK/venv/bin/python" "$HERE/localstripe_serve.py" "$port"
    echo "$port" > "$WORK/localstripe.port"
  fi
  await_http localstripe "http://127.0.0.1:$port/v1/customers"
  local status
  status=$(curl -s -o /dev/null -w '%{http_code}' -u sk_test_12345: "http://127.0.0.1:$port/v1/customers")
  [ "$status" = 200 ] || die "it answers $status to a list of customers; see $WORK/localstripe.log"
  echo "STRIPE_URL=http://127.0.0.1:$port"
  echo "STRIPE_KEY=sk_test_12345"
}

stop() { open_workdir "$1"; end_process localstripe; }

case "${1:-} $#" in
  "start 3") start "$2" "$3" ;;
  "stop 2" | "stop 3") stop "$2" ;;
  *) die "use: localstripe.sh start <workdir> <port> | localstripe.sh stop <workdir>" ;;
esac
