"""Serves the views through gunicorn, with one worker, until standard input closes."""

import json
import os
import signal
import threading

import keys
from django.core.wsgi import get_wsgi_application
from django.db import connections
from gunicorn.app.base import BaseApplication


def stop_with_input() -> None:
    while os.read(0, 1024):
        pass
    stop_at_once()


def stop_at_once(*_) -> None:
    """Sends SIGINT, because gunicorn would wait on SIGTERM until the clients close their connections."""
    os.kill(os.getpid(), signal.SIGINT)


def watch(_) -> None:
    """Called in the arbiter after it has installed its signal handlers, and before it starts a worker."""
    signal.signal(signal.SIGTERM, stop_at_once)
    threading.Thread(target=stop_with_input, daemon=True).start()


class Server(BaseApplication):
    def load_config(self) -> None:
        for option, value in {
            "bind": "127.0.0.1:0",
            "workers": 1,
            # This is the only worker class that keeps connections open without additional packages.
            "worker_class": "gthread",
            "threads": 1,
            "keepalive": 75,
            "control_socket_disable": True,
            "loglevel": "warning",
            "when_ready": watch,
            "post_worker_init": announce,
        }.items():
            self.cfg.set(option, value)

    def load(self):
        return get_wsgi_application()


def announce(worker) -> None:
    host, port = worker.sockets[0].getsockname()
    line = {
        "name": keys.name,
        "url": f"http://{host}:{port}",
        "pids": [os.getpid()],
        "versions": keys.versions(),
        "settings": settings
        | {
            "processes": worker.cfg.workers,
            "worker_class": worker.cfg.worker_class_str,
            "threads": worker.cfg.threads,
        },
        "request": {"method": "POST", "path": "/verify", "header": "Authorization", "prefix": "Api-Key "},
        "keys": samples,
    }
    print(json.dumps(line), flush=True)


samples = keys.fill()
settings = keys.database()
# The worker is a fork and must open its own connections.
connections.close_all()
Server().run()
