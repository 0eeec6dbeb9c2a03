"""Serves localstripe on loopback alone and keeps its state in memory alone; its own command listens on every
interface and writes its state to a fixed file.

Used by localstripe.sh: localstripe_serve.py <port>
"""

import sys

from aiohttp import web
from localstripe.server import app, store

type(store).dump_to_disk = lambda self: None
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]))
