#!/usr/bin/env bash
# A real Tryton for the live tests, on loopback, with a PostgreSQL cluster of its own.
#
#   tryton.sh start <workdir> <port>   installs, sets up, seeds and starts what is missing; prints how to reach it
#   tryton.sh stop <workdir>           ends the server and the cluster; the data stays
#
# start prints TRYTON_URL, TRYTON_KEY, TRYTON_SETTINGS and TRYTON_WORKDIR (the workdir) as shell assignments, and nothing
# else, to its output.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$HERE/common.sh"

DB=tryton
PACKAGES=(
  trytond==8.2.1 proteus==8.2.0
  trytond-sale-opportunity==8.2.0 trytond-sale==8.2.0 trytond-account-invoice==8.2.0
  trytond-project==8.2.0 trytond-project-invoice==8.2.0 trytond-timesheet==8.2.0
  psycopg==3.3.9 psycopg-binary==3.3.9 psycopg-pool==3.3.3
)
MODULES=(sale_opportunity sale account_invoice project project_invoice timesheet)

# PostgreSQL refuses to run as root, so root hands the cluster to the account that the package made.
as_postgres() {
  if [ "$(id -u)" = 0 ]; then (cd / && setpriv --reuid=postgres --regid=postgres --init-groups -- "$@"); else "$@"; fi
}

cluster_is_up() { as_postgres "$PGBIN/pg_ctl" -D "$CLUSTER" status > /dev/null 2>&1; }

find_postgres() {
  local found
  found=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1)
  PGBIN=${PGBIN:-$found}
  [ -n "$PGBIN" ] && [ -x "$PGBIN/initdb" ] || die "PostgreSQL is not installed (no /usr/lib/postgresql/*/bin/initdb)"
  CLUSTER=$WORK/pg
}

start_cluster() {
  if [ ! -d "$CLUSTER" ]; then
    mkdir -m 700 "$CLUSTER"
    if [ "$(id -u)" = 0 ]; then
      id postgres > /dev/null 2>&1 || die "root needs the account postgres to run PostgreSQL"
      chown postgres: "$CLUSTER"; chmod o+x "$WORK"
      as_postgres test -x "$CLUSTER" || die "the account postgres cannot reach $CLUSTER: choose another workdir"
    fi
  fi
  as_postgres test -f "$CLUSTER/PG_VERSION" ||
    as_postgres "$PGBIN/initdb" -D "$CLUSTER" -U postgres --auth=trust --encoding=UTF8 --locale=C > "$WORK/initdb.log" 2>&1 ||
    die "initdb failed; see $WORK/initdb.log"
  if ! cluster_is_up; then
    free_port > "$WORK/pg.port"
    as_postgres "$PGBIN/pg_ctl" -D "$CLUSTER" -l "$CLUSTER/server.log" -w start \
      -o "-p $(cat "$WORK/pg.port") -h 127.0.0.1 -k $CLUSTER -c fsync=off" > /dev/null ||
      die "PostgreSQL did not start; see $CLUSTER/server.log"
  fi
  PGPORT=$(cat "$WORK/pg.port")
}

sql() { "$PGBIN/psql" -X -q -A -t -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "$PGPORT" -U postgres -d postgres -c "$1"; }

write_config() {
  cat > "$WORK/trytond.conf" <<CONF
[web]
listen = 127.0.0.1:$PORT
[database]
uri = postgresql://postgres@127.0.0.1:$PGPORT/
CONF
}

# The server keeps a user's companies in memory for minutes, so everything is in place before it starts. A set-up that
# broke off half-way leaves no seed.env and begins anew.
set_up_database() {
  [ -f "$WORK/seed.env" ] && return 0
  say "setting up the database (about a minute)"
  sql "drop database if exists $DB with (force)" 2> /dev/null
  sql "create database $DB"
  local admin="$WORK/venv/bin/trytond-admin"
  (umask 077; python3 -c 'import secrets; print(secrets.token_hex(12))' > "$WORK/admin.password")
  TRYTONPASSFILE="$WORK/admin.password" "$admin" -c "$WORK/trytond.conf" -d "$DB" --all --email admin@crosstie.example \
    > "$WORK/setup.log" 2>&1 || die "the database could not be made; see $WORK/setup.log"
  "$admin" -c "$WORK/trytond.conf" -d "$DB" -u "${MODULES[@]}" --activate-dependencies >> "$WORK/setup.log" 2>&1 ||
    die "the modules could not be activated; see $WORK/setup.log"
  (umask 077; "$WORK/venv/bin/python" "$HERE/tryton_seed.py" "$DB" "$WORK/trytond.conf" \
    > "$WORK/seed.part" 2>> "$WORK/setup.log") || { tail -5 "$WORK/setup.log" >&2; die "seeding failed; see $WORK/setup.log"; }
  mv "$WORK/seed.part" "$WORK/seed.env"
}

start() {
  open_workdir "$1"; PORT=$2
  make_venv "${PACKAGES[@]}"
  find_postgres
  if is_running trytond && [ "$(cat "$WORK/trytond.port" 2>/dev/null)" != "$PORT" ]; then end_process trytond; fi
  cluster_is_up || end_process trytond
  start_cluster
  write_config
  set_up_database
  if ! is_running trytond; then
    port_is_free "$PORT" || die "port $PORT is taken"
    run_behind trytond "$WORK/venv/bin/python" "$WORK/venv/bin/trytond" -c "$WORK/trytond.conf" -d "$DB"
    echo "$PORT" > "$WORK/trytond.port"
  fi
  . "$WORK/seed.env"
  await_http trytond "http://127.0.0.1:$PORT/$DB/rest/model/company.company"
  local status
  status=$(curl -s -o /dev/null -w '%{http_code}' -H "Authorization: Bearer $TRYTON_KEY" "http://127.0.0.1:$PORT/$DB/rest/model/company.company?f=id")
  [ "$status" = 200 ] || die "the server answers $status to the seeded key; see $WORK/trytond.log"
  echo "TRYTON_URL=http://127.0.0.1:$PORT/$DB"
  printf 'TRYTON_WORKDIR=%q\n' "$WORK"
  cat "$WORK/seed.env"
}

stop() {
  open_workdir "$1"; find_postgres
  end_process trytond
  if cluster_is_up; then as_postgres "$PGBIN/pg_ctl" -D "$CLUSTER" -m fast -w stop > /dev/null; fi
}

case "${1:-} $#" in
  "start 3") start "$2" "$3" ;;
  "stop 2" | "stop 3") stop "$2" ;;
  *) die "use: tryton.sh start <workdir> <port> | tryton.sh stop <workdir>" ;;
esac
