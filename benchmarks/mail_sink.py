"""A mail server of its own process that takes everything, and prints how long it was from the first mail to the last.

python -m benchmarks.mail_sink PORT: takes mails until its standard input ends, then prints count and seconds.

It does no more than it must, so that what is measured are those who send: a mail server that reads addresses and
headers takes as much of the machine as a sender does. It answers everybody alike, and offers what Postfix offers of
that which senders use here: PIPELINING.
"""

import asyncio
import sys
import time

END = b"\r\n.\r\n"
ANSWERS = {
    b"EHLO": b"250-sink.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n",
    b"QUIT": b"221 2.0.0 Bye\r\n",
    b"DATA": b"354 End data with <CR><LF>.<CR><LF>\r\n",
}
YES = b"250 2.1.0 Ok\r\n"
TAKEN = b"250 2.0.0 Ok: taken\r\n"


class Taken:
    """How many mails, when the first and when the last."""

    def __init__(self) -> None:
        self.count = 0
        self.first = self.last = 0.0

    def one_more(self) -> None:
        self.last = time.monotonic()
        self.first = self.first or self.last
        self.count += 1


class Conversation(asyncio.Protocol):
    """One connection."""

    def __init__(self, taken: Taken) -> None:
        self._taken = taken
        self._buffer = b""
        self._is_body = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(b"220 sink.example ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        answers = b""
        while True:
            piece, end, rest = self._buffer.partition(END if self._is_body else b"\r\n")
            if not end:
                break
            self._buffer = rest
            if self._is_body:
                self._is_body = False
                self._taken.one_more()
                answers += TAKEN
                continue
            verb = piece[:4].upper()
            self._is_body = verb == b"DATA"
            answers += ANSWERS.get(verb, YES)
        if answers:
            self._transport.write(answers)


async def serve(port: int) -> None:
    taken = Taken()
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(lambda: Conversation(taken), host="127.0.0.1", port=port)
    print("ready", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    listening.close()
    print(taken.count, taken.last - taken.first, flush=True)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
