"""A Django project in one module, as small as the library's guide allows, with its keys in SQLite."""

import argparse
import atexit
import os
import platform
import shutil
import sqlite3
import string
import tempfile
from datetime import timedelta
from importlib.metadata import version as installed

import django
from django.conf import settings
from django.core.management import call_command
from django.db import connection, transaction
from django.utils import timezone
from django.utils.crypto import get_random_string

parser = argparse.ArgumentParser()
parser.add_argument("dir")
parser.add_argument("--keys", type=int, required=True)
parser.add_argument("--synchronous", choices=["NORMAL", "FULL"], default="NORMAL")
arguments = parser.parse_args()
if arguments.keys < 200:
    parser.error("--keys must be at least 200")

folder = tempfile.mkdtemp(prefix="run.", dir=os.path.join(arguments.dir, "drf-api-key"))
owner = os.getpid()


@atexit.register
def remove_folder() -> None:
    # gunicorn's workers are forks of this process, and run this code too.
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)


settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.path.join(folder, "keys.sqlite"),
            # Uses one connection for all requests instead of one for each request.
            "CONN_MAX_AGE": None,
            "OPTIONS": {
                "init_command": f"PRAGMA journal_mode=WAL; PRAGMA synchronous={arguments.synchronous};",
                "transaction_mode": "IMMEDIATE",
            },
        }
    },
    # The service has keys, but no sessions and no users, which is to the peer's advantage.
    INSTALLED_APPS=["rest_framework", "rest_framework_api_key"],
    # Sets Content-Length on the responses.
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    REST_FRAMEWORK={
        "DEFAULT_AUTHENTICATION_CLASSES": [],
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
        "UNAUTHENTICATED_USER": None,
    },
    ROOT_URLCONF="views",
    SECRET_KEY=get_random_string(50),
    USE_TZ=True,
)
django.setup()

from rest_framework_api_key.models import APIKey  # noqa: E402  (the models need django.setup)

name = "drf-api-key"


def versions() -> dict[str, str]:
    packages = ["djangorestframework-api-key", "Django", "djangorestframework", "gunicorn"]
    own = {"python": platform.python_version(), "sqlite": sqlite3.sqlite_version}
    return own | {package: installed(package) for package in packages}


def database() -> dict[str, str | int]:
    """The number of keys, and the settings that the database has."""
    with connection.cursor() as cursor:
        journal_mode = cursor.execute("PRAGMA journal_mode").fetchone()[0]
        synchronous = cursor.execute("PRAGMA synchronous").fetchone()[0]
    synchronous = ["OFF", "NORMAL", "FULL", "EXTRA"][synchronous]
    return {"keys": arguments.keys, "journal_mode": journal_mode, "synchronous": synchronous}


def create(**fields) -> str:
    return APIKey.objects.create_key(name="peer", **fields)[1]


def forged() -> str:
    """A key in the library's form that was never issued."""
    letters = string.ascii_letters + string.digits
    return f"{get_random_string(8, letters)}.{get_random_string(32, letters)}"


def fill() -> dict[str, list[str]]:
    """Creates the tables and the keys. Returns the samples."""
    call_command("migrate", verbosity=0)
    past = timezone.now() - timedelta(days=1)
    # One transaction for all keys makes the set-up faster, and nothing else.
    with transaction.atomic():
        valid = [create() for _ in range(arguments.keys)]
        expired = [create(expiry_date=past) for _ in range(20)]
        revoked = [create(revoked=True) for _ in range(20)]
    return {
        "valid": valid[:: arguments.keys // 200][:200],
        "expired": expired,
        "revoked": revoked,
        "unknown": [forged() for _ in range(20)],
        "garbage": ["garbage", "a.b.c", "not a key", "x" * 300, "'; --"],
    }
