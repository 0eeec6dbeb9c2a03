"""Brings the rows of the local system into a database by dlt, merged by their ids, twice; tells how long it took.

    dlt_load.py <base url> <database url> <folder>
"""

import json
import os
import sys
import time
import urllib.parse

os.environ.setdefault("RUNTIME__DLTHUB_TELEMETRY", "false")
os.environ.setdefault("RUNTIME__LOG_LEVEL", "CRITICAL")

import dlt  # noqa: E402
import requests  # noqa: E402

PAGE_ROWS = 100


def customers(base_url):
    """The rows, page by page, as the hub asks for them."""
    session = requests.Session()
    after = 0
    while after is not None:
        answer = session.get(f"{base_url}/rows", params={"after": after, "limit": PAGE_ROWS}, timeout=60)
        answer.raise_for_status()
        page = answer.json()
        yield page["rows"]
        after = page["next"]


def with_password(database):
    """The address as dlt takes it: never without a password, which a server that trusts does not look at."""
    parts = urllib.parse.urlsplit(database)
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    place = parts.netloc.rpartition("@")[2]
    netloc = f"{user}:{password or 'none'}@{place}"
    return urllib.parse.urlunsplit(("postgresql", netloc, parts.path, parts.query, ""))


def main():
    base_url, database, folder = sys.argv[1:4]
    os.makedirs(folder, exist_ok=True)
    if database.startswith("sqlite:"):
        file = os.path.join(folder, "dlt.db")
        destination = dlt.destinations.sqlalchemy(credentials=f"sqlite:///{file}")
        dataset = "main"
    else:
        destination = dlt.destinations.postgres(credentials=with_password(database))
        dataset = "dlt_bench"
    pipeline = dlt.pipeline(
        pipeline_name="bench",
        pipelines_dir=os.path.join(folder, "pipelines"),
        destination=destination,
        dataset_name=dataset,
    )
    told = {}
    for name in ("first_seconds", "again_seconds"):
        resource = dlt.resource(
            customers(base_url), name="customers", primary_key="id", write_disposition="merge"
        )
        begin = time.monotonic()
        pipeline.run(resource)
        told[name] = time.monotonic() - begin
    with pipeline.sql_client() as client:
        told["records"] = client.execute_sql("SELECT COUNT(*) FROM customers")[0][0]
    print(json.dumps(told))


if __name__ == "__main__":
    main()
