"""A mail server of its own process that takes everything, and prints how long it was from the first mail to the last.

python -m benchmarks.mail_sink PORT: takes mails until its standard input ends, then prints count and seconds.
"""

import asyncio
import sys
import time

from aiosmtpd.smtp import SMTP, Envelope, Session


class Sink:
    """Counts, and notes when."""

    def __init__(self) -> None:
        self.count = 0
        self.first = self.last = 0.0

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.last = time.monotonic()
        self.first = self.first or self.last
        self.count += 1
        return "250 2.0.0 Taken"


async def serve(port: int) -> None:
    sink = Sink()
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(lambda: SMTP(sink), host="127.0.0.1", port=port)
    print("ready", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    listening.close()
    print(sink.count, sink.last - sink.first, flush=True)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
