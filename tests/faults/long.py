"""The long fault run: every fault for real, on private servers, and what customers got in the end.

    python -m tests.faults.long [--customers 500] [--kills 200] [--seeds 5] [--first-seed 1] [--journal] [--old-way]

Workers bill and tell in loops while they are killed at random and at each step of a hand-over and paused beyond their
leases, while PostgreSQL is stopped at once and started again (with `synchronous_commit=off`), Redis refuses writes,
freezes, loses connections and forgets, and the mail server drops, refuses, hangs and drips. Customers fall, are topped
up and fall again. In the end all faults stop, and what the mail server accepted is compared with what the ledger and
the episodes say. Exit status 1 unless there were no duplicates, no silent losses, nothing wrong and nothing stale.

`--old-way` puts a worker in Ivy's place that remembers in the cache whom it told: the incident of 2019.
Bounded: by the number of kills, and by fifteen minutes a seed.
"""

import argparse
import hashlib
import imaplib
import os
import queue
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path
from typing import Any

import psycopg
import redis

from tests.faults.mailserver import At, Fault, Hold, MailServer, free_port, wait_for_port

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT / "script" / "setup"))

import servers  # noqa: E402
from children import Family  # noqa: E402

WORKERS = 4
LONGEST_SECONDS = 15 * 60
QUIET_SECONDS = 180
JOURNAL = "journal@archive.example"
MAIL_FAULTS = [
    (At.GREETING, Fault.LATER), (At.GREETING, Fault.DROP), (At.EHLO, Fault.DROP), (At.MAIL, Fault.LATER),
    (At.MAIL, Fault.SLOW), (At.MAIL, Fault.DRIP), (At.RCPT, Fault.LATER), (At.RCPT, Fault.DROP), (At.DATA, Fault.LATER),
    (At.DATA, Fault.DROP), (At.BODY, Fault.DROP), (At.REPLY, Fault.LATER), (At.REPLY, Fault.DROP),
    (At.REPLY, Fault.DROP), (At.REPLY, Fault.HANG), (At.REPLY, Fault.SLOW), (At.QUIT, Fault.DROP),
]  # fmt: skip


@dataclass
class Fall:
    """What the run did to a customer: below the threshold from `began` until `ended` (None: still)."""

    account: str
    began: float
    ended: float | None = None


@dataclass
class Result:
    """What came of one seed."""

    seed: int
    kills: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    falls: int = 0
    mails: int = 0
    duplicates: int = 0
    losses: int = 0
    wrong: int = 0
    stale: int = 0
    uncertain: int = 0
    settled: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    details: list[str] = field(default_factory=list)

    @property
    def is_well(self) -> bool:
        return not (self.duplicates or self.losses or self.wrong or self.stale)


class Run:
    """One seed: servers, workers, events, faults, and the reckoning."""

    def __init__(self, seed: int, *, customers: int, kills: int, has_journal: bool, way: str) -> None:
        self.dice = random.Random(seed)
        self.result = Result(seed)
        self.customers = customers
        self.kills = kills
        self.way = way
        self.has_journal = has_journal
        self.folder = Path(tempfile.mkdtemp(prefix="ivy-faults-"))
        self.folder.chmod(0o755)
        self.family = Family(self.folder / "processes.json")
        self.where = servers.place(self.folder)
        self.mails = MailServer(journal=JOURNAL if has_journal else "")
        self.mails.hang_seconds = 5
        self.workers: list[subprocess.Popen[bytes]] = []
        self.falls: list[Fall] = []
        self.stop = threading.Event()

    # The servers -------------------------------------------------------------------------------------------------

    def start(self) -> None:
        self.postgres_port = free_port()
        self.url = servers.postgres(self.where, self.family, port=self.postgres_port, is_throwaway=True)
        self.postgres = self.family.children[-1]
        self.redis_url = servers.redis(self.where, self.family, port=free_port(), is_throwaway=True)
        self.redis = self.family.children[-1]
        self.mails.start()
        self.env = {
            **os.environ,
            "DATABASE_URL": self.url,
            "CACHE_URL": self.redis_url,
            "EMAIL_URL": self.mails.url,
            "SECRET_KEY": secrets.token_urlsafe(48),
            "DEBUG": "true",
            "PYTHONPATH": str(CHECKOUT),
        }
        if self.has_journal:
            self._start_journal()
        self.manage("migrate", "-v0")
        self.sql("ALTER SYSTEM SET synchronous_commit = off")
        self.sql("SELECT pg_reload_conf()")
        self.sql(WORLD % {"customers": self.customers})
        self.manage("run_billing")
        if self.way == "ivy":
            self.manage("run_notifications")

    def _start_journal(self) -> None:
        """A real IMAP server in memory; a thread of its own carries copies there, so that mail is taken at once."""
        port = free_port()
        self.imap = subprocess.Popen(
            [Path(sys.executable).parent / "pymap", "--host", "127.0.0.1", "--port", str(port), "--no-tls", "dict",
             "--demo-data"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wait_for_port(port)
        copies: queue.Queue[bytes | None] = queue.Queue()

        def carry() -> None:
            box = imaplib.IMAP4("127.0.0.1", port)
            box.login("demouser", "demopass")
            while (copy := copies.get()) is not None:
                box.append("INBOX", None, None, copy)

        threading.Thread(target=carry, daemon=True).start()
        self.mails.keep = copies.put
        self.env["JOURNAL_URL"] = f"imap://demouser:demopass@127.0.0.1:{port}/INBOX?address={JOURNAL}&wait=2"

    def end(self) -> None:
        self.stop.set()
        for worker in self.workers:
            kill(worker)
        self.mails.heal()
        self.mails.stop()
        if self.has_journal and hasattr(self, "imap"):
            kill(self.imap)
        self.family.stop()
        for folder in {self.folder, self.where.folder}:
            shutil.rmtree(folder, ignore_errors=True)

    def manage(self, *arguments: str) -> None:
        subprocess.run(
            [sys.executable, "manage.py", *arguments], cwd=CHECKOUT, env=self.env, check=False,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=120,
        )  # fmt: skip

    def sql(self, query: str, parameters: Any = None) -> list[Any]:
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
                time.sleep(0.1)

    # What goes on meanwhile ---------------------------------------------------------------------------------------

    def start_worker(self) -> None:
        self.workers.append(
            subprocess.Popen(
                [sys.executable, "-m", "tests.faults.looping_worker", self.way],
                cwd=CHECKOUT,
                env=self.env,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )  # fmt: skip
        )

    def live(self) -> None:
        """Customers fall, are topped up, and fall again."""
        number = 0
        dice = random.Random(self.result.seed + 1)
        standing: dict[str, Fall] = {}
        with suppress(psycopg.Error):
            while not self.stop.is_set():
                number += 1
                account = f"C{dice.randint(1, self.customers)}"
                fall = standing.get(account)
                if fall is None:
                    depth = 22 if dice.random() < 0.2 else 13
                    self.post(account, "adjustment", -depth, f"down:{number}")
                    standing[account] = Fall(account, time.time())
                    self.falls.append(standing[account])
                elif dice.random() < 0.4:
                    fall.ended = time.time()
                    del standing[account]
                    self.post_to(account, 20, f"up:{number}")
                self.stop.wait(0.05)

    def post(self, account: str, kind: str, amount: int, key: str) -> None:
        self.sql(POST, {"account": account, "kind": kind, "amount": amount, "key": key})

    def post_to(self, account: str, balance: int, key: str) -> None:
        self.sql(POST_TO, {"account": account, "balance": balance, "key": key})

    def hurry(self) -> None:
        """What else takes minutes: leases of who was killed, delays after a refusal."""
        while not self.stop.is_set():
            with suppress(psycopg.Error):
                self.sql(
                    "UPDATE notifications_notificationlog SET lease_until = now() - interval '1 s' WHERE"
                    " (state = 'claimed' AND lease_until < now() + interval '112 s')"
                    " OR (state = 'sending' AND lease_until < now() + interval '55 s')"
                )
                self.sql(
                    "UPDATE notifications_notificationlog SET next_try_at = now() WHERE state = 'pending'"
                    " AND next_try_at > now()"
                )
            self.stop.wait(1)

    # Faults --------------------------------------------------------------------------------------------------------

    def harm(self) -> None:
        """One fault after the other, until enough workers were killed."""
        faults: list[tuple[int, str, Callable[[], None]]] = [
            (50, "killed at random", self.kill_one),
            (40, "killed at a step", self.kill_at_a_step),
            (8, "paused beyond its lease", self.pause_one),
            (3, "PostgreSQL stopped at once", self.stop_postgres),
            (4, "Redis refuses writes", self.redis_refuses),
            (3, "Redis frozen", self.freeze_redis),
            (3, "Redis loses connections", self.redis_loses_connections),
            (2, "Redis forgets", self.redis_forgets),
            (2, "mail server away", self.mail_server_away),
        ]
        self.mails.choose = self.mail_fault
        deadline = time.monotonic() + LONGEST_SECONDS
        while self.result.kills < self.kills and time.monotonic() < deadline:
            _, name, fault = self.dice.choices(faults, weights=[weight for weight, _, _ in faults])[0]
            self.result.faults[name] += 1
            fault()
            while len(self.workers) < self.dice.choice([2, WORKERS]):
                self.start_worker()
            time.sleep(self.dice.uniform(0.1, 0.9))

    def mail_fault(self, at: At, to: str) -> Fault | None:
        if self.dice.random() > 0.01:
            return None
        found = [fault for where, fault in MAIL_FAULTS if where == at]
        if not found:
            return None
        self.result.faults["of the mail server"] += 1
        return self.dice.choice(found)

    def kill_one(self) -> None:
        if self.workers:
            kill(self.workers.pop(self.dice.randrange(len(self.workers))))
            self.result.kills += 1

    def kill_at_a_step(self) -> None:
        """At this step of whatever hand-over comes next: who it is is told by its connection."""
        hold = self.mails.hold(self.dice.choice([At.EHLO, At.MAIL, At.RCPT, At.DATA, At.REPLY]))
        if hold.reached.wait(3):
            for worker in [self.workers.pop(self.dice.randrange(len(self.workers)))] if self.workers else []:
                kill(worker)
                self.result.kills += 1
        hold.release.set()

    def pause_one(self) -> None:
        """Stop a worker in the middle of a hand-over, let its lease run out, wake it."""
        hold: Hold = self.mails.hold(self.dice.choice([At.DATA, At.REPLY]))
        reached = hold.reached.wait(3)
        paused = list(self.workers)
        for worker in paused:
            worker.send_signal(signal.SIGSTOP)
        if reached:
            self.sql("UPDATE notifications_notificationlog SET lease_until = now() - interval '1 s'"
                     " WHERE state IN ('claimed', 'sending')")  # fmt: skip
            hold.release.set()
            self.start_worker()
            time.sleep(3)
        hold.release.set()
        for worker in paused:
            worker.send_signal(signal.SIGCONT)

    def stop_postgres(self) -> None:
        process = self.postgres.process
        assert process is not None
        process.send_signal(signal.SIGQUIT)  # "immediate": nothing is written on the way out
        process.wait(30)
        time.sleep(self.dice.uniform(0.1, 1))
        for _ in range(20):
            self.postgres.start()
            time.sleep(1)
            if self.postgres.is_alive():
                break
        self.sql("SELECT 1")

    def redis_client(self) -> Any:
        return redis.Redis.from_url(self.redis_url, socket_timeout=2)

    def redis_refuses(self) -> None:
        with suppress(redis.RedisError):
            client = self.redis_client()
            client.config_set("maxmemory", 1)
            time.sleep(3)
            client.config_set("maxmemory", 0)

    def freeze_redis(self) -> None:
        process = self.redis.process
        assert process is not None
        process.send_signal(signal.SIGSTOP)
        time.sleep(2)
        process.send_signal(signal.SIGCONT)

    def redis_loses_connections(self) -> None:
        with suppress(redis.RedisError):
            self.redis_client().client_kill_filter(_type="normal", skipme=True)

    def redis_forgets(self) -> None:
        with suppress(redis.RedisError):
            self.redis_client().flushall()

    def mail_server_away(self) -> None:
        self.mails.stop()
        time.sleep(1)
        self.mails.start()

    # The whole -----------------------------------------------------------------------------------------------------

    def go(self) -> Result:
        began = time.monotonic()
        try:
            self.start()
            for _ in range(WORKERS):
                self.start_worker()
            threads = [threading.Thread(target=target, daemon=True) for target in (self.live, self.hurry)]
            for thread in threads[: 2 if self.way == "ivy" else 1]:
                thread.start()
            self.harm()
            self.mails.heal()
            self.stop.set()
            threads[0].join(30)
            self.calm()
            self.reckon()
        finally:
            self.end()
        self.result.seconds = time.monotonic() - began
        return self.result

    def calm(self) -> None:
        """No more faults: wait until nothing is on its way any more."""
        if self.way == "flag":
            time.sleep(5)
            return
        self.stop = threading.Event()
        threading.Thread(target=self.hurry, daemon=True).start()
        self.result.uncertain = self.sql("SELECT count(*) FROM notifications_notificationlog WHERE state='uncertain'")[
            0
        ][0]
        deadline = time.monotonic() + QUIET_SECONDS
        while time.monotonic() < deadline:
            while len(self.workers) < 2:
                self.start_worker()
            states = "'pending', 'claimed', 'sending'" + (", 'uncertain'" if self.has_journal else "")
            waiting = self.sql(f"SELECT count(*) FROM notifications_notificationlog WHERE state IN ({states})")[0][0]
            falls = self.sql(
                "SELECT count(*) FROM billing_episode e JOIN billing_balancealert a ON a.id = e.alert_id"
                " JOIN billing_customerbalance b USING (customer_id)"
                " WHERE e.closed_at IS NULL AND e.taken_up_at IS NULL AND b.balance < a.threshold"
            )[0][0]
            judged = self.sql("SELECT count(*) FROM billing_customertojudge")[0][0]
            if not waiting and not falls and not judged:
                break
            time.sleep(1)
        self.stop.set()

    def reckon(self) -> None:
        """Compare what the mail server accepted with what had to be told."""
        result = self.result
        result.mails, result.falls = len(self.mails.accepted), len(self.falls)
        if self.way == "flag":
            self.reckon_by_falls()
            return
        accepted = defaultdict(list)
        for mail in self.mails.accepted:
            if b"Subject: Canary:" not in mail.content:
                accepted[mail.message_id].append(mail)
        for message_id, mails in accepted.items():
            if len(mails) > 1:
                result.duplicates += len(mails) - 1
                result.details.append(f"duplicate: {message_id} to {mails[0].to}, {len(mails)} times")
        episodes = [Episode(*row) for row in self.sql(EPISODES)]
        self.reckon_losses(episodes, accepted)
        known = {episode.message_id: episode for episode in episodes}
        for message_id, mails in accepted.items():
            episode = known.get(message_id)
            for mail in mails:
                if episode is None or mail.to != episode.email or episode.account.encode() not in mail.content:
                    result.wrong += 1
                    result.details.append(f"wrong: {message_id} to {mail.to}")
        result.stale = self.sql(STALE)[0][0]
        result.settled = Counter(dict(self.sql(SETTLED)))
        result.settled["left uncertain"] = self.sql(
            "SELECT count(*) FROM notifications_notificationlog WHERE state = 'uncertain'"
        )[0][0]

    def reckon_losses(self, episodes: list["Episode"], accepted: dict[str, list[Any]]) -> None:
        """Falls that go on, of which no mail was accepted: nor one about a lower threshold, which tells of them too."""
        for fall in episodes:
            if fall.closed_at is not None or not fall.is_below or fall.message_id in accepted:
                continue
            by_another = any(
                other.account == fall.account and other.threshold < fall.threshold and other.message_id in accepted
                for other in episodes
            )
            if not by_another and fall.state not in {"uncertain", "held", "failed"}:
                self.result.losses += 1
                self.result.details.append(f"loss: {fall.account} {fall.kind} {fall.opened_at} {fall.state}")

    def reckon_by_falls(self) -> None:
        """For the old way, whose mails name no fall: mails within each fall, and falls without one."""
        times = defaultdict(list)
        for mail in self.mails.accepted:
            times[mail.to].append(mail.at)
        for fall in self.falls:
            until = fall.ended or float("inf")
            mails = sum(fall.began <= at < until for at in times[f"{fall.account.lower()}@example.net"])
            self.result.duplicates += max(0, mails - 1)
            self.result.losses += mails == 0 and fall.ended is None


@dataclass(frozen=True)
class Episode:
    """A fall as the database knows it, and `state`: where its mail stands, for what waits for staff."""

    account: str
    email: str
    alert: int
    kind: str
    threshold: Any
    opened_at: Any
    closed_at: Any
    is_below: bool
    state: str

    @property
    def message_id(self) -> str:
        """The Message-ID of the mail about it, reckoned here anew from what is documented of keys."""
        recipient = hashlib.sha256(self.email.encode()).hexdigest()[:32]
        opened = self.opened_at.astimezone(UTC).isoformat(timespec="microseconds")
        key = f"{self.kind}:{self.alert}:{opened}:0:{recipient}"
        return f"<{hashlib.sha256(key.encode()).hexdigest()[:40]}@notifications.ivy.invalid>"


def kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        process.kill()
    process.wait(30)


WORLD = """
INSERT INTO billing_partner (slug, name, currency, timezone, language, sender, reply_to)
    VALUES ('quayside', 'Quayside', 'EUR', 'UTC', 'en', 'billing@quayside.example', '');
INSERT INTO billing_customer (account, partner_id, name, email, currency, timezone, status, credit_limit)
    SELECT 'C' || n, (SELECT id FROM billing_partner), 'Customer ' || n, 'c' || n || '@example.net', 'EUR', 'UTC',
        'active', 0 FROM generate_series(1, %(customers)s) n;
INSERT INTO billing_balancealert (customer_id, kind, threshold, is_active)
    SELECT id, 'low_balance', 10, true FROM billing_customer;
INSERT INTO billing_ledgerentry (key, customer_id, kind, amount, currency, occurred_at, booked_month, charge_number,
                                 description, reason, entered_by)
    SELECT 'payment:bank:' || id, id, 'payment', 20, 'EUR', now(), date_trunc('month', now())::date, 1, 'Payment', '',
        '' FROM billing_customer;
INSERT INTO notifications_breakerlimits (id, mails_a_recipient_a_day, held_customers_an_hour, mails_an_hour,
    busiest_hour_factor, customers_a_pass, share_of_customers_a_pass, released_a_minute)
    VALUES (1, 10000, 100000, 1000000, 3, 1000000, 0.25, 60);
"""

POST = """
INSERT INTO billing_ledgerentry (key, customer_id, kind, amount, currency, occurred_at, booked_month, charge_number,
                                 description, reason, entered_by)
SELECT %(kind)s || ':' || %(key)s, id, %(kind)s, %(amount)s, 'EUR', now(), date_trunc('month', now())::date, 1,
    'Calls', 'calls', 'run' FROM billing_customer WHERE account = %(account)s
ON CONFLICT (key) DO NOTHING
"""

POST_TO = """
INSERT INTO billing_ledgerentry (key, customer_id, kind, amount, currency, occurred_at, booked_month, charge_number,
                                 description, reason, entered_by)
SELECT 'payment:' || %(key)s, cu.id, 'payment', %(balance)s - b.balance, 'EUR', now(),
    date_trunc('month', now())::date, 1, 'Payment', '', ''
FROM billing_customer cu JOIN billing_customerbalance b ON b.customer_id = cu.id WHERE account = %(account)s
ON CONFLICT (key) DO NOTHING
"""

EPISODES = """
SELECT cu.account, cu.email, a.id, a.kind, a.threshold, e.opened_at, e.closed_at, b.balance < a.threshold,
    coalesce((SELECT n.state FROM notifications_notificationlog n WHERE n.episode_id = e.id AND n.kind = a.kind), '')
FROM billing_episode e JOIN billing_balancealert a ON a.id = e.alert_id
JOIN billing_customer cu ON cu.id = a.customer_id JOIN billing_customerbalance b ON b.customer_id = cu.id
ORDER BY e.id
"""

# Handed over although the fall had been closed before the point of no return.
STALE = """
SELECT count(*) FROM notifications_deliveryattempt t
JOIN notifications_notificationlog n ON n.id = t.notification_id JOIN billing_episode e ON e.id = n.episode_id
WHERE t.outcome IN ('open', 'unknown', 'accepted') AND e.closed_at < t.began_at
"""

SETTLED = """
SELECT by || ': ' || verb, count(*) FROM notifications_notificationhistory GROUP BY 1
"""


def main() -> int:
    """Run the seeds, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--customers", type=int, default=500)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--journal", action="store_true")
    parser.add_argument("--old-way", action="store_true")
    options = parser.parse_args()
    results = []
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        run = Run(
            seed,
            customers=options.customers,
            kills=options.kills,
            has_journal=options.journal,
            way="flag" if options.old_way else "ivy",
        )
        results.append(run.go())
        tell(results[-1])
    print("\n| seed | kills | falls | mails | duplicates | silent losses | wrong | stale | uncertain | seconds |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for one in results:
        print(
            f"| {one.seed} | {one.kills} | {one.falls} | {one.mails} | {one.duplicates} | {one.losses} | {one.wrong}"
            f" | {one.stale} | {one.settled['left uncertain']} | {one.seconds:.0f} |"
        )
    return 0 if all(one.is_well for one in results) else 1


def tell(result: Result) -> None:
    print(f"seed {result.seed}: {dict(result.faults)}", flush=True)
    print(f"  uncertain when the faults ended: {result.uncertain}; settled: {dict(result.settled)}", flush=True)
    for line in result.details[:20]:
        print(f"  {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
