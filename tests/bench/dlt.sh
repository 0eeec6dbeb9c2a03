#!/usr/bin/env bash
# The peer of the back-fill benchmark: dlt, in a Python environment of its own.
#
#   dlt.sh <workdir>    installs what is missing and prints CROSSTIE_BENCH_DLT as a shell assignment, and nothing else
set -euo pipefail
WORK=${1:?a folder to work in, such as .work/bench}
mkdir -p "$WORK"
WORK=$(cd "$WORK" && pwd)
if [ ! -x "$WORK/dlt/bin/python" ] || ! "$WORK/dlt/bin/python" -c 'import dlt, psycopg2, sqlalchemy' 2> /dev/null; then
  python3 -m venv "$WORK/dlt"
  "$WORK/dlt/bin/pip" install --quiet --disable-pip-version-check 'dlt[postgres,sqlalchemy]' 1>&2
fi
printf 'CROSSTIE_BENCH_DLT=%q\n' "$WORK/dlt/bin/python"
