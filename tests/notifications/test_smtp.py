"""How a mail server is spoken to, with and without PIPELINING: what it refuses, and what it never gets then."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from notifications.models import Phase
from notifications.smtp import Broken, MailServer, Refused, ServerSettings
from tests.faults.mailserver import At, Fault, mail_server
from tests.notifications.conftest import AtAFreePort

SENDER, MEI, INES, JOURNAL = (f"{name}@example.net" for name in ("billing", "mei", "ines", "journal"))
MESSAGE = b"Subject: Hello\r\n\r\nHello.\r\n"


@dataclass
class Post:
    """A server that refuses some addresses, and what it took: recipients and content. `answers`: by address."""

    offers_pipelining: bool
    answers: dict[str, str] = field(default_factory=dict)
    taken: list[tuple[list[str], bytes]] = field(default_factory=list)
    conversations: int = 0

    async def handle_EHLO(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        self.conversations += 1
        session.host_name = hostname
        return [*responses[:-1], *(["250-PIPELINING"] if self.offers_pipelining else []), responses[-1]]

    async def handle_MAIL(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.answers:
            return self.answers[address]
        envelope.mail_from = address
        return "250 2.1.0 Ok"

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.answers:
            return self.answers[address]
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.taken.append(([str(address) for address in envelope.rcpt_tos], envelope.original_content or b""))
        return "250 2.0.0 Taken"


@pytest.fixture(params=[True, False], ids=["pipelining", "one by one"])
def post(request: pytest.FixtureRequest) -> Post:
    return Post(request.param)


@contextmanager
def talking_to(post: Post) -> Iterator[MailServer]:
    controller = AtAFreePort(post)
    controller.start()
    try:
        with MailServer(ServerSettings("127.0.0.1", controller.port, seconds=60)) as server:
            yield server
    finally:
        controller.stop()


class TestAMail:
    def test_is_taken_with_the_journals_copy_or_without(self, post: Post) -> None:
        with talking_to(post) as server:
            assert server.offer(SENDER, MEI) is False
            assert server.hand_over(MESSAGE).code == 250
            assert server.offer(SENDER, INES, journal=JOURNAL) is True
            assert server.hand_over(MESSAGE).code == 250
        assert post.taken == [([MEI], MESSAGE), ([INES, JOURNAL], MESSAGE)]
        assert post.conversations == 1

    def test_goes_without_the_journal_that_refuses_its_copy(self, post: Post) -> None:
        post.answers[JOURNAL] = "452 4.2.2 Full"
        with talking_to(post) as server:
            assert server.offer(SENDER, MEI, journal=JOURNAL) is False
            server.hand_over(MESSAGE)
        assert post.taken == [([MEI], MESSAGE)]

    def test_that_was_offered_and_left_is_not_delivered(self, post: Post) -> None:
        with talking_to(post) as server:
            server.offer(SENDER, MEI)
            server.hang_up()
            server.offer(SENDER, INES)
            server.hand_over(MESSAGE)
        assert post.taken == [([INES], MESSAGE)]

    def test_to_an_address_that_would_be_two_commands_is_none(self, post: Post) -> None:
        with talking_to(post) as server:
            with pytest.raises(Broken):
                server.offer(SENDER, f"{MEI}>\r\nRCPT TO:<{INES}")
            server.offer(SENDER, INES)
            server.hand_over(MESSAGE)
        assert post.taken == [([INES], MESSAGE)]


class TestARefusal:
    @pytest.mark.parametrize(
        ("who", "answer", "phase", "is_permanent"),
        [
            (SENDER, "451 4.3.0 Later", Phase.MAIL, False),
            (SENDER, "554 5.7.1 Never", Phase.MAIL, True),
            (MEI, "450 4.2.1 Later", Phase.RCPT, False),
            (MEI, "550 5.1.1 Nobody", Phase.RCPT, True),
        ],
    )
    def test_tells_its_own_phase_and_words_and_the_next_mail_goes_over_the_same_connection(
        self, post: Post, who: str, answer: str, phase: Phase, is_permanent: bool
    ) -> None:
        post.answers[who] = answer
        with talking_to(post) as server:
            for _ in range(2):
                with pytest.raises(Refused) as refused:
                    server.offer(SENDER, MEI)
                assert (refused.value.phase, refused.value.is_permanent) == (phase, is_permanent)
                assert f"{refused.value.code} {refused.value.words}" == answer
            post.answers.clear()
            server.offer(SENDER, INES)
            server.hand_over(MESSAGE)
        assert post.taken == [([INES], MESSAGE)]
        assert post.conversations == 1

    def test_of_the_recipient_keeps_the_journal_from_getting_a_copy(self, post: Post) -> None:
        """The server would take a body for the journal alone: found there, the mail would seem to be delivered."""
        post.answers[MEI] = "550 5.1.1 Nobody"
        with talking_to(post) as server:
            with pytest.raises(Refused) as refused:
                server.offer(SENDER, MEI, journal=JOURNAL)
            assert (refused.value.phase, refused.value.code) == (Phase.RCPT, 550)
            server.offer(SENDER, INES, journal=JOURNAL)
            server.hand_over(MESSAGE)
        assert post.taken == [([INES, JOURNAL], MESSAGE)]

    @pytest.mark.parametrize("at", [At.MAIL, At.RCPT])
    @pytest.mark.parametrize("offers_pipelining", [True, False])
    def test_by_a_server_that_says_go_ahead_all_the_same_gets_no_body(self, at: At, offers_pipelining: bool) -> None:
        with mail_server(offers_pipelining=offers_pipelining) as odd:
            odd.fail(at, Fault.NEVER)
            with MailServer(ServerSettings("127.0.0.1", odd.port, seconds=60)) as server:
                with pytest.raises(Refused):
                    server.offer(SENDER, MEI)
                server.offer(SENDER, INES)
                server.hand_over(MESSAGE)
            assert [mail.recipients for mail in odd.accepted] == [(INES,)]

    def test_that_is_the_servers_good_bye_is_no_fault_of_the_mail(self, post: Post) -> None:
        post.answers[MEI] = "421 4.3.2 Going down"
        with talking_to(post) as server:
            with pytest.raises(Broken) as broken:
                server.offer(SENDER, MEI)
            assert (broken.value.phase, broken.value.code) == (Phase.RCPT, 421)
        assert post.taken == []


class TestAServerThatHangsUp:
    @pytest.mark.parametrize(("at", "phase"), [(At.MAIL, Phase.MAIL), (At.RCPT, Phase.RCPT), (At.DATA, Phase.DATA)])
    @pytest.mark.parametrize("offers_pipelining", [True, False])
    def test_is_told_apart_by_phase(self, at: At, phase: Phase, offers_pipelining: bool) -> None:
        with mail_server(offers_pipelining=offers_pipelining) as odd:
            odd.fail(at, Fault.DROP)
            with MailServer(ServerSettings("127.0.0.1", odd.port, seconds=60)) as server:
                with pytest.raises(Broken) as broken:
                    server.offer(SENDER, MEI)
                assert broken.value.phase == phase
                server.offer(SENDER, MEI)
                server.hand_over(MESSAGE)
            assert [mail.recipients for mail in odd.accepted] == [(MEI,)]

    def test_after_a_refusal_leaves_it_a_refusal(self) -> None:
        with mail_server() as odd:
            odd.fail(At.RCPT, Fault.NEVER)
            odd.fail(At.DATA, Fault.DROP)
            with MailServer(ServerSettings("127.0.0.1", odd.port, seconds=60)) as server:
                with pytest.raises(Refused) as refused:
                    server.offer(SENDER, MEI)
                assert (refused.value.phase, refused.value.is_permanent) == (Phase.RCPT, True)
            assert odd.accepted == []
