"""One long fault run: private servers, customers who fall and are topped up, workers, and every fault for real.

Everything is on loopback, seeded, bounded in number and in time, and gone afterwards. What customers got is what the
mail server accepted (see `tests.faults.truth`).
"""

import imaplib
import json
import os
import queue
import random
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import psutil
import psycopg
import redis

from tests.faults import truth
from tests.faults.mailserver import At, Fault, MailServer, free_port, wait_for_port

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT / "script" / "setup"))

import servers  # noqa: E402 - no package: it runs before anything is installed
from children import Child, Family, end_group  # noqa: E402

IVY = "ivy"
JOURNAL = "journal@archive.example"
LONGEST_SECONDS = 15 * 60.0
QUIET_SECONDS = 120.0
UNTOUCHED_SECONDS = 6  # between two postings of one customer, so that no mail can be taken for the next fall's
CLAIM_SECONDS, SENDING_SECONDS = 120, 63  # Ivy's leases, as the settings of this run make them
DEAD_SECONDS = 8  # who has a lease this long is dead or paused: a whole conversation takes three
STEPS = ("greeting", "ehlo", "mail", "rcpt", "data", "commit", "body", "reply", "after", "settle")
OF_THE_MAIL_SERVER = {
    At.GREETING: [(0.01, Fault.LATER), (0.01, Fault.NEVER), (0.01, Fault.DROP), (0.01, Fault.HANG)],
    At.EHLO: [(0.01, Fault.DROP), (0.01, Fault.SLOW), (0.005, Fault.NEVER)],
    At.MAIL: [(0.01, Fault.LATER), (0.002, Fault.NEVER), (0.005, Fault.DROP), (0.005, Fault.SLOW), (0.002, Fault.DRIP)],
    At.RCPT: [(0.01, Fault.LATER), (0.002, Fault.NEVER), (0.005, Fault.DROP), (0.005, Fault.HANG)],
    At.DATA: [(0.01, Fault.LATER), (0.002, Fault.NEVER), (0.01, Fault.DROP), (0.005, Fault.DRIP)],
    At.BODY: [(0.02, Fault.DROP)],
    At.REPLY: [(0.05, Fault.DROP), (0.015, Fault.HANG), (0.01, Fault.LATER), (0.003, Fault.NEVER), (0.01, Fault.SLOW)],
    At.QUIT: [(0.1, Fault.DROP)],
}


@dataclass
class Result:
    """What came of one run. `uncertain`: how often a mail became so; `settled`: what became of those."""

    seed: int
    way: str
    has_journal: bool
    kills: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    falls: int = 0
    mails: int = 0
    found: truth.Reckoning = field(default_factory=truth.Reckoning)
    uncertain: int = 0
    settled: Counter[str] = field(default_factory=Counter)
    left: int = 0
    trouble: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def is_well(self) -> bool:
        """Whether everything that Ivy promises was kept. What the journal could settle and did not is trouble."""
        return self.found.is_well and not self.trouble


class Incident:
    """One run. `go` does all of it."""

    def __init__(self, seed: int, *, customers: int, kills: int, has_journal: bool = False, way: str = IVY) -> None:
        self.result = Result(seed, way, has_journal)
        self.dice = random.Random(seed)
        self.dice_of_the_mail_server = random.Random(seed + 1)
        self.customers = customers
        self.kills = kills
        self.folder = Path(tempfile.mkdtemp(prefix="ivy-faults-"))
        self.folder.chmod(0o755)
        self.family = Family(self.folder / "processes.json")
        self.mails = MailServer(journal=JOURNAL if has_journal else "", offers_pipelining=seed % 2 == 1)
        self.mails.hang_seconds = 5
        self.workers: list[int] = []
        self.with_shifted_clock: set[int] = set()
        self.paused: dict[int, float] = {}
        self.nursery: subprocess.Popen[str] | None = None
        self.imap: subprocess.Popen[bytes] | None = None
        self.life_ends = threading.Event()
        self.all_ends = threading.Event()

    def go(self) -> Result:
        """Everything, from nothing to the reckoning; takes itself down whatever happens."""
        began = time.monotonic()
        try:
            self.set_up()
            threads = [threading.Thread(target=target, daemon=True) for target in (self.live, self.hurry)]
            for thread in threads:
                thread.start()
            self.harm()
            self.life_ends.set()
            threads[0].join(120)
            self.calm()
            self.reckon()
        finally:
            self.take_down()
        self.result.seconds = time.monotonic() - began
        return self.result

    # Servers -----------------------------------------------------------------------------------------------------

    def set_up(self) -> None:
        where = self.where = servers.place(self.folder)
        self.url = servers.postgres(where, self.family, port=free_port(), is_throwaway=True)
        self.postgres: Child = self.family.children[-1]
        self.redis_url = servers.redis(where, self.family, port=free_port(), is_throwaway=True)
        self.redis: Child = self.family.children[-1]
        self.mails.start()
        self.environment = {
            **os.environ,
            "DATABASE_URL": self.url,
            "CACHE_URL": self.redis_url,
            "EMAIL_URL": self.mails.url,
            "JOURNAL_URL": "",
            "SECRET_KEY": secrets.token_urlsafe(48),
            "DEBUG": "true",
            "PYTHONPATH": str(CHECKOUT),
        }
        if self.result.has_journal:
            self.start_journal()
        self.manage("migrate", "-v0")
        self.sql("ALTER SYSTEM SET synchronous_commit = off")
        self.sql("SELECT pg_reload_conf()")
        self.make_world()
        self.nursery = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.nursery", self.result.way],
            cwd=CHECKOUT, env=self.environment, text=True, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.orders = self.folder / "orders"
        self.orders.mkdir()
        self.fork("actor", str(self.orders))
        for _ in range(2):
            self.start_worker(is_exact=True)

    def start_journal(self) -> None:
        """A real IMAP server, in memory. Copies get there one after the other, a little later than mails are taken."""
        port = free_port()
        self.imap = subprocess.Popen(
            [str(Path(sys.executable).parent / "pymap"), "--host", "127.0.0.1", "--port", str(port), "--no-tls",
             "dict", "--demo-data"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wait_for_port(port)
        copies: queue.Queue[bytes] = queue.Queue()

        def carry() -> None:
            box = imaplib.IMAP4("127.0.0.1", port)
            box.login("demouser", "demopass")
            while True:
                box.append("INBOX", "", "", copies.get())

        threading.Thread(target=carry, daemon=True).start()
        self.mails.keep = copies.put
        self.environment["JOURNAL_URL"] = f"imap://demouser:demopass@127.0.0.1:{port}/INBOX?address={JOURNAL}&wait=2"

    def make_world(self) -> None:
        """Customers with twenty each, and alerts at ten; some with a second alert, some with a second recipient."""
        partners, customers = self.folder / "partners.csv", self.folder / "customers.csv"
        partners.write_text("slug,name,sender,currency,timezone\nquayside,Quayside,billing@quayside.example,EUR,UTC\n")
        rows = [
            f"C{n},quayside,Customer number {n},c{n}@example.net,EUR,UTC,10,20" for n in range(1, self.customers + 1)
        ]
        header = "account,partner,name,email,currency,timezone,low_balance_threshold,opening_balance"
        customers.write_text("\n".join([header, *rows, ""]))
        self.manage("import_partners", str(partners))
        self.manage("import_customers", str(customers))
        self.sql(WORLD)
        self.manage("run_billing")
        if self.result.way == IVY:
            self.manage("run_notifications")

    def take_down(self) -> None:
        self.life_ends.set()
        self.all_ends.set()
        if self.nursery is not None:
            end_group(self.nursery.pid)
            self.nursery.wait(30)
        self.mails.heal()
        self.mails.stop()
        if self.imap is not None:
            self.imap.kill()
            self.imap.wait(30)
        for child in (getattr(self, "redis", None), getattr(self, "postgres", None)):
            if child is not None and child.process is not None:
                with suppress(ProcessLookupError):
                    child.process.send_signal(signal.SIGCONT)
        self.family.stop()
        for folder in {self.folder, getattr(self, "where", servers.Place(self.folder, None)).folder}:
            shutil.rmtree(folder, ignore_errors=True)

    def manage(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments], cwd=CHECKOUT, env=self.environment, check=False,
            capture_output=True, text=True, timeout=180,
        )  # fmt: skip
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def sql(self, query: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        """On a connection of its own, again and again until the server is there."""
        deadline = time.monotonic() + 60
        while True:
            try:
                with psycopg.connect(self.url, autocommit=True, connect_timeout=5) as database:
                    found = database.execute(query.encode(), parameters)
                    return found.fetchall() if found.description else []
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    # Life --------------------------------------------------------------------------------------------------------

    def live(self) -> None:
        """Customers fall, are topped up, hover around their threshold, and fall again, until told to stop."""
        dice = random.Random(self.result.seed + 2)
        for number in range(1, 100_000):
            if self.life_ends.is_set():
                return
            order: dict[str, list[tuple[str, str, str]]] = {"charges": [], "payments": []}
            balances = self.sql(UNTOUCHED, [UNTOUCHED_SECONDS])
            for account, balance in islice(sorted(balances, key=lambda _: dice.random()), 8):
                reference = f"{account}-{number}"
                if balance >= 20:
                    order["charges"].append((reference, account, dice.choice(["13", "13", "13", "17", "22"])))
                elif balance >= 10:
                    order["charges"].append((reference, account, "1"))
                elif dice.random() < 0.6:
                    back_at = "10.20" if dice.random() < 0.2 else "20"  # within the margin, or well above it
                    order["payments"].append((reference, account, f"{float(back_at) - float(balance):.2f}"))
            self.give(f"{number:06}", order)

    def give(self, name: str, order: dict[str, list[tuple[str, str, str]]]) -> None:
        """Hand an order to the actor, and wait until it was carried out."""
        half, whole = self.orders / f"{name}.half", self.orders / f"{name}.json"
        half.write_text(json.dumps(order))
        half.rename(whole)
        while whole.exists() and not self.all_ends.is_set():
            self.all_ends.wait(0.02)
        self.life_ends.wait(0.3)

    def hurry(self) -> None:
        """Let time go by faster where Ivy would wait for minutes: leases of the dead and paused, delays of retries."""
        while not self.all_ends.is_set():
            with suppress(psycopg.Error):
                self.sql(HURRY, {"claim": CLAIM_SECONDS - DEAD_SECONDS, "sending": SENDING_SECONDS - DEAD_SECONDS})
            now = time.monotonic()
            for pid in [pid for pid, until in self.paused.items() if until < now]:
                self.wake(pid)
            self.all_ends.wait(1)

    # Workers -----------------------------------------------------------------------------------------------------

    def fork(self, kind: str, what: str) -> int:
        assert self.nursery is not None
        assert self.nursery.stdin is not None
        assert self.nursery.stdout is not None
        self.nursery.stdin.write(f"{kind} {what}\n")
        self.nursery.stdin.flush()
        return int(self.nursery.stdout.readline())

    def start_worker(self, *, is_exact: bool = False) -> None:
        """One more; of five, one has a clock that is a day off."""
        is_shifted = not is_exact and self.dice.random() < 0.2
        hours = self.dice.choice([-26, 26]) if is_shifted else 0
        pid = self.fork("worker", str(hours * 3600))
        self.workers.append(pid)
        if is_shifted:
            self.with_shifted_clock.add(pid)

    def kill(self, pid: int) -> None:
        """SIGKILL, and wait until it is gone."""
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        while Path(f"/proc/{pid}").exists():
            time.sleep(0.002)
        self.result.kills += 1
        self.workers.remove(pid)
        self.paused.pop(pid, None)

    def wake(self, pid: int) -> None:
        self.paused.pop(pid, None)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    def who(self, port: int) -> int | None:
        """The worker whose end of a connection to the mail server has this port."""
        for one in psutil.net_connections("tcp4"):
            if one.laddr and one.laddr.port == port and one.raddr and one.raddr.port == self.mails.port:
                return one.pid if one.pid in self.workers else None
        return None

    # Faults ------------------------------------------------------------------------------------------------------

    def harm(self) -> None:
        """Every fault, in an order that the seed decides."""
        deadline = time.monotonic() + LONGEST_SECONDS
        self.mails.choose = self.fault_of_the_mail_server
        how_many = 4
        for number, (name, fault) in enumerate(self.plan()):
            if time.monotonic() > deadline:
                self.result.trouble.append(f"stopped after {LONGEST_SECONDS:.0f} s")
                break
            if number % 15 == 0:
                how_many = self.dice.choice([2, 4])
            while len(self.workers) < how_many:
                self.start_worker()
            fault()
            self.result.faults[name] += 1
            time.sleep(self.dice.uniform(0.05, 0.4))

    def plan(self) -> list[tuple[str, Callable[[], None]]]:
        """So many kills, two of five at a named step, and of each other fault some."""
        at_steps = self.kills * 2 // 5
        some = max(1, self.kills // 40)
        faults: list[tuple[str, Callable[[], None]]] = [
            *[("killed at random", self.kill_one)] * (self.kills - at_steps),
            *[(f"killed at {step}", partial(self.kill_at, step)) for step in (STEPS * at_steps)[:at_steps]],
        ]
        for name, fault, times in [
            ("paused at 354 beyond its lease", partial(self.pause_at, At.DATA), some),
            ("paused at the reply beyond its lease", partial(self.pause_at, At.REPLY), some),
            ("paused anywhere", self.pause_one, some),
            ("clock jumps", self.clock_jumps, some),
            ("PostgreSQL stopped at once", self.stop_postgres, some + 2),
            ("PostgreSQL loses connections", self.postgres_loses_connections, some),
            ("Redis out of memory", partial(self.redis_refuses, "maxmemory", "1", "0"), some),
            ("Redis lacks replicas", partial(self.redis_refuses, "min-replicas-to-write", "1", "0"), some),
            ("Redis frozen", self.redis_frozen, some),
            ("Redis loses connections", self.redis_loses_connections, some),
            ("Redis begins empty", self.redis_begins_empty, some),
            ("mail server away", self.mail_server_away, some),
        ]:
            faults += [(name, fault)] * times
        self.dice.shuffle(faults)
        return faults

    def fault_of_the_mail_server(self, at: At, to: str) -> Fault | None:
        luck = self.dice_of_the_mail_server.random()
        for probability, fault in OF_THE_MAIL_SERVER.get(at, []):
            luck -= probability
            if luck < 0:
                self.result.faults["of the mail server"] += 1
                return fault
        return None

    def kill_one(self) -> None:
        self.kill(self.dice.choice(self.workers))

    def kill_at(self, step: str) -> None:
        """Kill who comes to this step next; whoever it is, when nobody comes."""
        for _ in range(3):
            if self._kill_at(step):
                return
        self.result.faults["(killed elsewhere: nobody came)"] += 1
        self.kill_one()

    def _kill_at(self, step: str) -> bool:
        hold = self.mails.hold({"commit": At.DATA, "settle": At.REPLY}.get(step) or At(step))
        try:
            pid = self.who(hold.port) if hold.reached.wait(6) else None
            if pid is None:
                return False
            if step in LOCKED_AT:
                with self.locked(LOCKED_AT[step], hold.to):
                    hold.release.set()
                    self.wait_for_a_waiter()
                    self.kill(pid)
            else:
                self.kill(pid)
            return True
        except psycopg.Error:
            return False
        finally:
            self.mails.forget(hold)

    @contextmanager
    def locked(self, query: str, to: str) -> Iterator[None]:
        """Rows of the recipient's customer, so that who wants to commit something about them has to wait."""
        number = re.search(r"\d+", to)
        with psycopg.connect(self.url, connect_timeout=5) as database:
            database.execute(query.encode(), [f"C{number[0]}" if number else ""])
            yield
            database.rollback()

    def wait_for_a_waiter(self) -> None:
        deadline = time.monotonic() + 1.5
        waiting = "SELECT 1 FROM pg_locks WHERE NOT granted AND locktype IN ('transactionid', 'tuple')"
        while not self.sql(waiting) and time.monotonic() < deadline:
            time.sleep(0.01)

    def pause_at(self, at: At) -> None:
        """Stop a worker in the middle of a hand-over, let its leases run out and others go on, wake it."""
        hold = self.mails.hold(at)
        pid = self.who(hold.port) if hold.reached.wait(6) else None
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
            self.sql(EXPIRE, [pid])
            self.start_worker()
            time.sleep(2.5)
            hold.release.set()
            time.sleep(0.2)
            self.wake(pid)
        self.mails.forget(hold)

    def pause_one(self) -> None:
        """Wherever it is; `hurry` lets its leases run out, and wakes it."""
        pid = self.dice.choice(self.workers)
        self.paused[pid] = time.monotonic() + DEAD_SECONDS + 4
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)

    def clock_jumps(self) -> None:
        for pid in self.with_shifted_clock & set(self.workers):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGUSR1)

    def stop_postgres(self) -> None:
        """“Immediate”: nothing is written on the way out, as in a crash; commits not flushed yet are gone."""
        process = self.postgres.process
        assert process is not None
        process.send_signal(signal.SIGQUIT)
        process.wait(30)
        time.sleep(self.dice.uniform(0, 1))
        deadline = time.monotonic() + 30
        while True:
            self.postgres.start()
            with suppress(AssertionError):
                wait_for_port(int(self.url.rpartition(":")[2].partition("/")[0]), seconds=3)
                break
            assert time.monotonic() < deadline, "PostgreSQL does not start again"
        self.sql("SELECT 1")

    def postgres_loses_connections(self) -> None:
        self.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'ivy'")

    def redis_client(self) -> Any:
        return redis.Redis.from_url(self.redis_url, socket_timeout=2)

    def redis_refuses(self, setting: str, broken: str, whole: str) -> None:
        """Reads go on, writes fail."""
        with suppress(redis.RedisError):
            client = self.redis_client()
            client.config_set(setting, broken)
            time.sleep(2)
            client.config_set(setting, whole)

    def redis_frozen(self) -> None:
        process = self.redis.process
        assert process is not None
        process.send_signal(signal.SIGSTOP)
        time.sleep(1.5)
        process.send_signal(signal.SIGCONT)

    def redis_loses_connections(self) -> None:
        with suppress(redis.RedisError):
            self.redis_client().client_kill_filter(_type="normal", skipme=True)

    def redis_begins_empty(self) -> None:
        process = self.redis.process
        assert process is not None
        process.kill()
        process.wait(30)
        self.redis.start()
        with suppress(AssertionError):
            wait_for_port(int(self.redis_url.rpartition(":")[2].partition("/")[0]), seconds=5)

    def mail_server_away(self) -> None:
        self.mails.stop()
        time.sleep(1)
        self.mails.start()

    # The end -----------------------------------------------------------------------------------------------------

    def calm(self) -> None:
        """No more faults: passes run until nothing is on its way any more."""
        self.mails.heal()
        for pid in list(self.paused):
            self.wake(pid)
        for _ in range(2):
            self.start_worker(is_exact=True)
        if self.result.way != IVY:
            time.sleep(15)
            return
        deadline = time.monotonic() + QUIET_SECONDS
        while any(self.sql(UNDER_WAY)[0]):
            if time.monotonic() > deadline:
                self.result.trouble.append(f"not quiet after {QUIET_SECONDS:.0f} s: {self.sql(UNDER_WAY)}")
                break
            time.sleep(0.5)
        self.all_ends.set()
        for pid in list(self.workers):
            self.kill(pid)
            self.result.kills -= 1

    def reckon(self) -> None:
        """Compare what the mail server accepted with what had to be told."""
        result = self.result
        people = [mail for mail in self.mails.accepted if mail.to]
        mails = [truth.read(mail.content, at=mail.at, to=mail.to) for mail in people]
        postings = [truth.Posting(*row) for row in self.sql(POSTINGS)]
        alerts = {row[0]: truth.Alert(*row[:4], tuple(row[4])) for row in self.sql(ALERTS)}
        falls = [truth.Fall(row[0], alerts[row[1]], *row[2:]) for row in self.sql(FALLS)]
        result.falls, result.mails = len(falls), len(mails)
        if result.way != IVY:
            result.found = truth.reckon_by_ledger(postings, list(alerts.values()), mails)
            return
        shown = {(episode, to): state for episode, to, state in self.sql(SHOWN_TO_STAFF)}
        result.found = truth.reckon(postings, list(alerts.values()), falls, mails, shown_to_staff=shown)
        result.found.wrong += [f"{mail.recipients} had one mail" for mail in people if len(mail.recipients) > 2]
        for account in sorted(set(re.findall(r"\bC\d+\b", " ".join(result.found.losses + result.found.duplicates)))):
            result.trouble += [f"{account}: {row}" for (row,) in self.sql(LIFE, {"account": account})]
        result.trouble += [f"the breaker tripped: {reason}" for (reason,) in self.sql(TRIPS)]
        drift = json.loads(self.manage("reconcile", "--json"))["drift"]
        result.trouble += [f"drift: {one}" for one in drift[:10]]
        result.uncertain = self.sql("SELECT count(*) FROM transition WHERE new = 'uncertain'")[0][0]
        result.settled = Counter(dict(self.sql(SETTLED)))  # type: ignore[arg-type]
        result.left = self.sql("SELECT count(*) FROM notifications_notificationlog WHERE state = 'uncertain'")[0][0]


WORLD = """
INSERT INTO billing_balancealert (customer_id, kind, threshold, is_active)
    SELECT id, 'low_balance', 5, true FROM billing_customer WHERE id % 10 = 0;
INSERT INTO billing_alertrecipient (alert_id, email)
    SELECT a.id, address FROM billing_balancealert a JOIN billing_customer cu ON cu.id = a.customer_id,
        LATERAL (VALUES (cu.email), (replace(cu.email, '@', '.books@'))) AS two (address)
    WHERE cu.id % 7 = 0 AND a.kind = 'low_balance' AND a.threshold = 10;
INSERT INTO notifications_breakerlimits (id, mails_a_recipient_a_day, held_customers_an_hour, mails_an_hour,
    busiest_hour_factor, customers_a_pass, share_of_customers_a_pass, released_a_minute)
    VALUES (1, 10000, 100000, 1000000, 3, 1000000, 0.25, 60);
-- Every change of a state, for the table of what became of uncertain mails.
CREATE TABLE transition (log_id bigint, old text, new text, at timestamptz DEFAULT clock_timestamp());
CREATE FUNCTION note_transition() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN INSERT INTO transition (log_id, old, new) VALUES (NEW.id, OLD.state, NEW.state); RETURN NULL; END';
CREATE TRIGGER note_transition AFTER UPDATE OF state ON notifications_notificationlog
    FOR EACH ROW WHEN (OLD.state <> NEW.state) EXECUTE FUNCTION note_transition();
"""

UNTOUCHED = """
SELECT cu.account, b.balance FROM billing_customer cu JOIN billing_customerbalance b ON b.customer_id = cu.id
WHERE NOT EXISTS (
    SELECT FROM billing_ledgerentry l WHERE l.customer_id = cu.id AND l.posted_at > now() - make_interval(secs => %s)
) AND NOT EXISTS (SELECT FROM billing_billingitem i WHERE i.customer_id = cu.id AND i.next_due_on IS NOT NULL)
ORDER BY cu.id
"""

HURRY = """
UPDATE notifications_notificationlog SET
    lease_until = CASE WHEN state IN ('claimed', 'sending') THEN now() - interval '1 s' ELSE lease_until END,
    next_try_at = CASE WHEN state = 'pending' THEN now() ELSE next_try_at END
WHERE (state = 'claimed' AND lease_until < now() + make_interval(secs => %(claim)s))
   OR (state = 'sending' AND lease_until < now() + make_interval(secs => %(sending)s))
   OR (state = 'pending' AND next_try_at > now())
"""

EXPIRE = """
UPDATE notifications_notificationlog n SET lease_until = now() - interval '1 s'
WHERE state = 'claimed'
   OR (state = 'sending' AND EXISTS (
       SELECT FROM notifications_deliveryattempt t WHERE t.notification_id = n.id AND t.token = n.token AND t.pid = %s
   ))
"""

LOCKED_AT = {
    "commit": """
        SELECT FROM billing_episode e JOIN billing_balancealert a ON a.id = e.alert_id
        JOIN billing_customer cu ON cu.id = a.customer_id
        WHERE cu.account = %s AND e.closed_at IS NULL FOR UPDATE OF e
    """,
    "settle": """
        SELECT FROM notifications_notificationlog n JOIN billing_customer cu ON cu.id = n.customer_id
        WHERE cu.account = %s AND n.state = 'sending' FOR UPDATE OF n
    """,
}

# Mails on their way: without those about a fall that another recipient was told of, and that is not below the threshold
# just now; with uncertain ones that the journal will settle (their last hand-over had a copy for it, and there was no
# second try yet). Falls nobody has taken up, balances nobody has judged, items nobody has charged.
UNDER_WAY = """
SELECT
    (SELECT count(*) FROM notifications_notificationlog n
     WHERE state IN ('claimed', 'sending')
        OR (state = 'pending' AND NOT EXISTS (
            SELECT FROM billing_episode e JOIN billing_balancealert a ON a.id = e.alert_id
            JOIN billing_customerbalance b USING (customer_id)
            WHERE e.id = n.episode_id AND e.told_at IS NOT NULL AND b.balance >= a.threshold))
        OR (state = 'uncertain'
            AND (SELECT has_journal FROM notifications_deliveryattempt t WHERE t.notification_id = n.id
                 ORDER BY t.number DESC LIMIT 1)
            AND NOT EXISTS (SELECT FROM notifications_notificationhistory h
                            WHERE h.notification_id = n.id AND h.by = 'journal' AND h.verb = 'resend'))),
    (SELECT count(*) FROM billing_episode e JOIN billing_balancealert a ON a.id = e.alert_id
        JOIN billing_customerbalance b USING (customer_id)
     WHERE e.closed_at IS NULL AND e.taken_up_at IS NULL AND b.balance < a.threshold),
    (SELECT count(*) FROM billing_customertojudge),
    (SELECT count(*) FROM billing_billingitem WHERE next_due_on IS NOT NULL)
"""

POSTINGS = """
SELECT cu.account, l.posted_at, l.amount FROM billing_ledgerentry l JOIN billing_customer cu ON cu.id = l.customer_id
ORDER BY l.posted_at, l.id
"""

ALERTS = """
SELECT a.id, cu.account, a.kind, a.threshold,
    CASE WHEN EXISTS (SELECT FROM billing_alertrecipient r WHERE r.alert_id = a.id)
        THEN ARRAY(SELECT email::text FROM billing_alertrecipient r WHERE r.alert_id = a.id)
        ELSE ARRAY[cu.email::text] END
FROM billing_balancealert a JOIN billing_customer cu ON cu.id = a.customer_id WHERE a.is_active
"""

FALLS = "SELECT id, alert_id, opened_at, closed_at, is_silent FROM billing_episode ORDER BY id"

SHOWN_TO_STAFF = """
SELECT n.episode_id, c.recipient, coalesce(other.state, n.state)
FROM notifications_notificationlog n
JOIN notifications_notificationcontent c ON c.notification_id = n.id
LEFT JOIN notifications_notificationlog other ON other.id = n.covered_by_id AND n.because = 'covered'
WHERE coalesce(other.state, n.state) IN ('uncertain', 'failed', 'held')
"""

TRIPS = "SELECT reason FROM notifications_breakertrip ORDER BY at"

# Everything that Ivy knows of a customer about whom something is wrong, in the order in which it happened.
LIFE = """
SELECT concat_ws(' ', to_char(at, 'HH24:MI:SS.MS'), what) FROM (
    SELECT l.posted_at AS at,
        'entry ' || l.amount || ' balance ' || sum(l.amount) OVER (ORDER BY l.posted_at, l.id) AS what
    FROM billing_ledgerentry l JOIN billing_customer cu ON cu.id = l.customer_id WHERE cu.account = %(account)s
    UNION ALL
    SELECT e.opened_at, concat_ws(' ', 'episode', e.id, a.kind, a.threshold, 'told', e.told_at, 'closed', e.closed_at,
        'taken up', e.taken_up_at, 'silent', e.is_silent)
    FROM billing_episode e JOIN billing_balancealert a ON a.id = e.alert_id
    JOIN billing_customer cu ON cu.id = a.customer_id WHERE cu.account = %(account)s
    UNION ALL
    SELECT n.created_at, concat_ws(' ', 'mail', n.id, n.episode_id, n.kind, n.state, n.because, n.detail, 'covered by',
        n.covered_by_id)
    FROM notifications_notificationlog n JOIN billing_customer cu ON cu.id = n.customer_id
    WHERE cu.account = %(account)s
    UNION ALL
    SELECT t.at, concat_ws(' ', 'mail', t.log_id, t.old, '->', t.new)
    FROM transition t JOIN notifications_notificationlog n ON n.id = t.log_id
    JOIN billing_customer cu ON cu.id = n.customer_id WHERE cu.account = %(account)s
) life ORDER BY at
"""

SETTLED = """
SELECT
    CASE
        WHEN t.new = 'sent' AND h.by IS NOT NULL THEN 'found in the journal'
        WHEN t.new = 'sent' THEN 'its worker''s late answer'
        WHEN t.new = 'pending' THEN 'missing in the journal: tried once more'
        ELSE t.new
    END,
    count(*)
FROM transition t
LEFT JOIN notifications_notificationhistory h ON h.notification_id = t.log_id AND h.from_state = 'uncertain'
    AND h.to_state = t.new AND h.at BETWEEN t.at - interval '1 s' AND t.at
WHERE t.old = 'uncertain' GROUP BY 1
"""
