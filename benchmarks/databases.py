"""Databases that a benchmark makes on the server of DATABASE_URL, works in, and drops again."""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

CHECKOUT = Path(__file__).resolve().parents[1]


def server_url() -> str:
    """The server's own database, for making and dropping others. Raises SystemExit with a sentence without a server."""
    url = os.environ.get("DATABASE_URL")
    if not url:
        sys.exit("DATABASE_URL is not set: name a PostgreSQL server on which databases may be made.")
    return url.rpartition("/")[0] + "/postgres"


def url_of(name: str) -> str:
    """The URL of a database beside that of DATABASE_URL."""
    return f"{server_url().rpartition('/')[0]}/{name}"


def create(name: str) -> str:
    """An empty database, which stays; its URL."""
    with psycopg.connect(server_url(), autocommit=True) as server:
        server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return url_of(name)


def may_be_kept(parser: argparse.ArgumentParser) -> None:
    """Let a world that takes minutes to build be left there, and be asked again."""
    parser.add_argument("--keep", metavar="NAME", help="leave the database under that name")
    parser.add_argument("--use", metavar="NAME", help="ask a database that was kept, instead of building one")


@contextmanager
def built(options: argparse.Namespace, name: str, build: Callable[[str], None]) -> Iterator[str]:
    """The URL of the database that the options of `may_be_kept` mean; `build` fills one that is new."""
    if options.use:
        yield url_of(options.use)
    elif options.keep:
        drop(options.keep)
        url = create(options.keep)
        build(url)
        yield url
    else:
        with temporary(name) as url:
            build(url)
            yield url


@contextmanager
def temporary(name: str, *, like: str | None = None) -> Iterator[str]:
    """A database, empty or a copy of another; dropped in the end, whatever happens. Its URL."""
    drop(name)
    with psycopg.connect(server_url(), autocommit=True) as server:
        template = sql.SQL(" TEMPLATE {}").format(sql.Identifier(like)) if like else sql.SQL("")
        server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)) + template)
    try:
        yield url_of(name)
    finally:
        drop(name)


def drop(name: str) -> None:
    """Drop the database, if it is there, whoever is connected to it."""
    with psycopg.connect(server_url(), autocommit=True) as server:
        server.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def environment(url: str, *, email: str = "consolemail://") -> dict[str, str]:
    """The environment in which Ivy works on this database."""
    return {
        **os.environ,
        "DATABASE_URL": url,
        "CACHE_URL": os.environ.get("CACHE_URL", "redis://127.0.0.1:6379/0"),
        "DEBUG": "false",
        "ALLOWED_HOSTS": "localhost",
        "EMAIL_URL": email,
        "SECRET_KEY": "only for benchmarks, which serve nobody at all",
    }


def manage(url: str, *arguments: str, email: str = "consolemail://", **more: str) -> str:
    """Run `manage.py` on this database; what it printed. Raises CalledProcessError when it fails."""
    command = [sys.executable, str(CHECKOUT / "manage.py"), *arguments]
    return subprocess.run(
        command, env={**environment(url, email=email), **more}, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def inside(url: str, code: str, settings: str = "ivy.settings") -> str:
    """Run Python with Ivy set up on this database; what it printed."""
    set_up = f"import sys; sys.path.insert(0, {str(CHECKOUT)!r}); import django; django.setup()\n"
    env = {**environment(url), "DJANGO_SETTINGS_MODULE": settings}
    return subprocess.run(
        [sys.executable, "-c", set_up + code], env=env, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
