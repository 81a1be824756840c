"""A private Redis that is made to fail in every way that is known, for real, and mended again."""

import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError
from redis.retry import Retry

from ivy.cache import Kind
from tests.faults.mailserver import free_port, wait_for_port

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT / "script" / "setup"))

import servers  # noqa: E402 - no package: it runs before anything is installed
from children import Child, Family  # noqa: E402

KEYS_TO_LOAD = 10_000  # 10 ms each, and a look at its clients after each


class RedisServer:
    """The server, at one port for its whole life, however often it is started anew."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ivy-redis-"))
        self.folder.chmod(0o755)
        self.family = Family(self.folder / "processes.json")
        self.where = servers.place(self.folder)
        self.port = free_port()
        self.url = servers.redis(self.where, self.family, port=self.port, is_throwaway=True)
        self.child: Child = self.family.children[-1]
        self.data = self.where.folder / "redis"

    def end(self) -> None:
        """Take it down, frozen or not, and leave nothing."""
        self.signal(signal.SIGCONT)
        self.family.stop()
        for folder in {self.folder, self.where.folder}:
            shutil.rmtree(folder, ignore_errors=True)

    def client(self) -> Any:
        """A client beside Ivy's, patient and without retries."""
        return redis.Redis.from_url(self.url, socket_timeout=60, retry=Retry(NoBackoff(), 0))

    def set(self, **settings: str) -> None:
        """CONFIG SET."""
        with self.client() as client:
            for name, value in settings.items():
                client.config_set(name.replace("_", "-"), value)

    def signal(self, number: int) -> None:
        if self.child.process is not None and self.child.process.poll() is None:
            self.child.process.send_signal(number)

    def drop_clients(self) -> None:
        """Close all connections but the one that says so."""
        with self.client() as client:
            client.client_kill_filter(_type="normal", skipme=True)

    def kill(self) -> None:
        """At once, without saving anything."""
        assert self.child.process is not None
        self.child.process.kill()
        self.child.process.wait(60)

    def start_again(self) -> None:
        """With what it has saved, which is nothing unless it was told to. It answers when this returns."""
        self.child.start()
        wait_for_port(self.port)
        with self.client() as client, suppress(BusyLoadingError):
            client.ping()

    def restart(self) -> None:
        self.kill()
        self.start_again()

    def snapshot(self) -> None:
        """Try to save to the disk, and wait for how that ends."""
        with self.client() as client:
            client.bgsave()
            deadline = time.monotonic() + 60
            while client.info("persistence")["rdb_bgsave_in_progress"]:
                assert time.monotonic() < deadline
                time.sleep(0.01)


@contextmanager
def redis_server() -> Iterator[RedisServer]:
    """A server for a while."""
    server = RedisServer()
    try:
        yield server
    finally:
        server.end()


@contextmanager
def refused(server: RedisServer) -> Iterator[None]:
    """It is not there."""
    server.kill()
    try:
        yield
    finally:
        server.start_again()


@contextmanager
def read_only(server: RedisServer) -> Iterator[None]:
    """It became a replica, of a primary that is not there."""
    with server.client() as client:
        client.replicaof("127.0.0.1", "1")
    try:
        yield
    finally:
        with server.client() as client:
            client.replicaof("NO", "ONE")


@contextmanager
def out_of_memory(server: RedisServer) -> Iterator[None]:
    """It is full, and may throw nothing away."""
    server.set(maxmemory="1")
    try:
        yield
    finally:
        server.set(maxmemory="0")


@contextmanager
def failed_snapshot(server: RedisServer) -> Iterator[None]:
    """It can't write to its folder, and takes nothing that it could not save."""
    owner = server.data.stat()
    _lock_folder(server.data)
    try:
        server.set(save="3600 1")
        server.snapshot()
        yield
    finally:
        server.data.chmod(0o755)
        if os.geteuid() == 0:
            os.chown(server.data, owner.st_uid, owner.st_gid)
        server.snapshot()
        server.set(save="")
        for saved in server.data.glob("*.rdb"):
            saved.unlink()  # its next start would find what others kept in it


def _lock_folder(folder: Path) -> None:
    if os.geteuid() == 0:
        os.chown(folder, 0, 0)
    folder.chmod(0o555)


@contextmanager
def too_few_replicas(server: RedisServer) -> Iterator[None]:
    server.set(min_replicas_to_write="1")
    try:
        yield
    finally:
        server.set(min_replicas_to_write="0")


@contextmanager
def loading(server: RedisServer) -> Iterator[None]:
    """It was started anew, and has much to read."""
    config = server.data / "redis.conf"
    plain = config.read_text()
    with server.client() as client:
        client.mset({f"key-{number}": "x" * 1100 for number in range(KEYS_TO_LOAD)})
        client.config_set("rdbcompression", "no")
        client.save()
    server.kill()
    config.write_text(f"{plain}key-load-delay 10000\nloading-process-events-interval-bytes 1024\n")
    server.start_again()
    try:
        yield
    finally:
        config.write_text(plain)
        server.kill()  # it reads for as long as it was told to; where it is stored is thrown away
        (server.data / "dump.rdb").unlink(missing_ok=True)
        server.start_again()


@contextmanager
def frozen(server: RedisServer) -> Iterator[None]:
    """It is there, and says nothing."""
    server.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        server.signal(signal.SIGCONT)


@contextmanager
def another_password(server: RedisServer) -> Iterator[None]:
    with server.client() as client:
        password = client.config_get("requirepass")["requirepass"]
        client.config_set("requirepass", "another")
        client.client_kill_filter(_type="normal", skipme=True)
        try:
            yield
        finally:
            client.config_set("requirepass", password)


@contextmanager
def too_many_clients(server: RedisServer) -> Iterator[None]:
    with server.client() as client:
        most = client.config_get("maxclients")["maxclients"]
        client.client_kill_filter(_type="normal", skipme=True)
        client.config_set("maxclients", "1")
        client.client_kill_filter(_type="normal", skipme=True)
        try:
            yield
        finally:
            client.config_set("maxclients", most)


FAILURES: dict[Kind, Callable[[RedisServer], AbstractContextManager[None]]] = {
    Kind.REFUSED: refused,
    Kind.READ_ONLY: read_only,
    Kind.OUT_OF_MEMORY: out_of_memory,
    Kind.FAILED_SNAPSHOT: failed_snapshot,
    Kind.TOO_FEW_REPLICAS: too_few_replicas,
    Kind.LOADING: loading,
    Kind.FROZEN: frozen,
    Kind.LOG_IN: another_password,
    Kind.TOO_MANY_CLIENTS: too_many_clients,
}
