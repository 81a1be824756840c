"""Which customer a call belongs to: a table of identities and calls, with the reason beside each row."""

from datetime import UTC, datetime

import pytest

from billing.models import Customer, IdentityKind, Source
from tests.billing.call_files import (
    MOBILE,
    OFFICE,
    SHOP,
    asterisk_call,
    asterisk_file,
    deliver,
    ivy_call,
    ivy_file,
    only_call,
    whose,
    why,
)
from tests.factories import make_customer, make_identity, make_source

pytestmark = pytest.mark.django_db

CODE, PEER, NUMBER = IdentityKind.CODE, IdentityKind.PEER, IdentityKind.NUMBER
CALL_AT = datetime(2024, 3, 4, 9, 30, tzinfo=UTC)

# The office is customer 10001, known by code, peer 301 and number; the shop is 10002, known by code, peer 302, number.
OFFICE_CODE = {"accountcode": "office"}
OFFICE_PEER = {"channel": "PJSIP/301-0000002a"}
OFFICE_NUMBER = {"src": "020 7946 0018"}
SHOP_CODE = {"accountcode": "shop"}
SHOP_PEER = {"channel": "PJSIP/302-0000002a"}
SHOP_NUMBER = {"src": "020 7946 0077"}
TO_SHOP_NUMBER = {"dst": "020 7946 0077"}
TO_SHOP_PEER = {"dstchannel": "PJSIP/302-0000002b"}
NOBODY = {"accountcode": "", "channel": "PJSIP/carrier-0000002a", "src": "07700900999", "dst": "07700900123"}


@pytest.fixture
def pbx() -> Source:
    return make_source(name="pbx-north", format="asterisk", timezone="Europe/London", region="GB")


@pytest.fixture
def office() -> Customer:
    customer = make_customer(account="10001", name="Van den Berg Cycles")
    for kind, value in ((CODE, "office"), (PEER, "301"), (NUMBER, OFFICE)):
        make_identity(customer=customer, kind=kind, value=value)
    return customer


@pytest.fixture
def shop(pbx: Source) -> Customer:
    customer = make_customer(account="10002", name="Nakamura Books")
    for kind, value in ((CODE, "shop"), (PEER, "302"), (NUMBER, SHOP)):
        make_identity(customer=customer, kind=kind, value=value, source=pbx)
    return customer


class TestACallOfAsterisk:
    @pytest.mark.parametrize(
        ("changes", "account", "direction", "because"),
        [
            (OFFICE_CODE, "10001", "outbound", "the code alone"),
            (OFFICE_PEER, "10001", "outbound", "the peer alone"),
            (OFFICE_NUMBER, "10001", "outbound", "the calling number alone, dialled in the country's way"),
            ({"src": "+442079460018"}, "10001", "outbound", "the calling number in international form"),
            (OFFICE_CODE | OFFICE_PEER | OFFICE_NUMBER, "10001", "outbound", "all three agree"),
            ({"accountcode": "10001"}, "10001", "outbound", "the account itself is always a code of its customer"),
            ({"accountcode": "unheard-of"} | OFFICE_PEER, "10001", "outbound", "a code of nobody's says nothing"),
            (SHOP_CODE, "10002", "outbound", "an identity of this source only counts like one of any"),
            (TO_SHOP_NUMBER, "10002", "inbound", "the called number, where nobody of ours calls"),
            (TO_SHOP_PEER, "10002", "inbound", "the peer reached, where nobody of ours calls"),
            (TO_SHOP_NUMBER | TO_SHOP_PEER, "10002", "inbound", "both agree"),
            (OFFICE_PEER | TO_SHOP_NUMBER | TO_SHOP_PEER, "10001", "outbound", "between two of ours: the caller's"),
        ],
    )
    def test_belongs_to(
        self,
        pbx: Source,
        office: Customer,
        shop: Customer,
        changes: dict[str, str],
        account: str,
        direction: str,
        because: str,
    ) -> None:
        deliver(asterisk_file(asterisk_call(**{**NOBODY, **changes})), pbx)
        call = only_call()
        assert call.customer is not None, because
        assert (call.customer.account, call.direction) == (account, direction), because

    @pytest.mark.parametrize(
        ("changes", "because"),
        [
            (OFFICE_CODE | SHOP_PEER, "the code says one, the peer another"),
            (OFFICE_PEER | SHOP_NUMBER, "the number shown is another customer's"),
            (OFFICE_CODE | SHOP_NUMBER, "likewise"),
            ({"accountcode": "10001"} | SHOP_PEER, "an account and a peer"),
            ({"dst": "020 7946 0018"} | TO_SHOP_PEER, "the called number is one's, the peer reached another's"),
        ],
    )
    def test_that_names_two_customers_is_nobodys(
        self, pbx: Source, office: Customer, shop: Customer, changes: dict[str, str], because: str
    ) -> None:
        call = asterisk_call(**{**NOBODY, **changes})
        deliver(asterisk_file(call), pbx)
        call_id = f"{call['uniqueid']}-{call['sequence']}"
        assert why(call_id) == ("ambiguous_customer", "It names the customers 10001 and 10002."), because
        assert whose(call_id)[0] is None

    def test_that_names_nobody_says_what_it_names(self, pbx: Source, office: Customer, shop: Customer) -> None:
        call = asterisk_call(**NOBODY)
        deliver(asterisk_file(call), pbx)
        found = why(f"{call['uniqueid']}-{call['sequence']}")
        assert found is not None
        reason, detail = found
        assert reason == "no_customer"
        assert detail.endswith(
            "peer carrier, calling number 447700900999, called number 447700900123, peer reached carrier."
        )

    def test_knows_the_identities_of_its_source_and_of_any(self, office: Customer, shop: Customer) -> None:
        south = make_source(name="pbx-south", format="asterisk", timezone="Europe/London", region="GB")
        calls = [asterisk_call(**{**NOBODY, **who}, sequence=n) for n, who in (("1", OFFICE_PEER), ("2", SHOP_PEER))]
        deliver(asterisk_file(*calls), south)
        assert whose("1709544600.42-1") == (office, "outbound")
        assert whose("1709544600.42-2") == (None, "outbound")  # 302 is somebody at pbx-north only

    def test_of_two_identities_of_one_value_one_for_any_source_is_ambiguous(
        self, pbx: Source, office: Customer, shop: Customer
    ) -> None:
        make_identity(customer=shop, kind=PEER, value="301", source=pbx)
        deliver(asterisk_file(asterisk_call(**NOBODY | OFFICE_PEER, sequence="1")), pbx)
        assert why("1709544600.42-1") == ("ambiguous_customer", "It names the customers 10001 and 10002.")

    @pytest.mark.parametrize(
        ("valid_from", "valid_to", "counts", "because"),
        [
            (None, None, True, "always valid"),
            (CALL_AT, None, True, "valid from the very moment"),
            (CALL_AT.replace(second=1), None, False, "valid a second later"),
            (None, CALL_AT, False, "the end does not hold any more"),
            (None, CALL_AT.replace(second=1), True, "still valid at the start, though not at the end"),
        ],
    )
    def test_goes_by_the_identities_of_its_start(
        self, pbx: Source, valid_from: datetime | None, valid_to: datetime | None, counts: bool, because: str
    ) -> None:
        holder = make_customer()
        make_identity(customer=holder, kind=PEER, value="307", valid_from=valid_from, valid_to=valid_to)
        deliver(asterisk_file(asterisk_call(**NOBODY | {"channel": "SIP/307-00000001"}, sequence="1")), pbx)
        assert (whose("1709544600.42-1")[0] == holder) is counts, because

    def test_follows_a_number_that_moved(self, pbx: Source, office: Customer, shop: Customer) -> None:
        make_identity(customer=office, value=MOBILE, valid_to=CALL_AT)
        make_identity(customer=shop, value=MOBILE, valid_from=CALL_AT)
        before = asterisk_call(**NOBODY | {"src": "07700900123", "start": "2024-03-04 09:29:59"}, sequence="1")
        after = asterisk_call(**NOBODY | {"src": "07700900123"}, sequence="2")
        deliver(asterisk_file(before, after), pbx)
        assert whose("1709544600.42-1")[0] == office
        assert whose("1709544600.42-2")[0] == shop


class TestACallOfFormatIvy:
    @pytest.fixture
    def billing_feed(self) -> Source:
        return make_source(name="feed", region="GB")

    @pytest.mark.parametrize(
        ("fields", "account", "because"),
        [
            ({"account": "10001"}, "10001", "the account"),
            ({"account": "office"}, "10001", "a code"),
            ({"account": "301"}, "10001", "a peer"),
            ({"account": OFFICE}, "10001", "a number"),
            ({"account": f"+{OFFICE}"}, "10001", "a number with its +"),
            ({"account": "code:office"}, "10001", "a code that says so"),
            ({"account": "peer:301"}, "10001", "a peer that says so"),
            ({"account": "peer:301@feed"}, "10001", "a peer at this source"),
            ({"account": "office@feed"}, "10001", "a code at this source"),
            ({"account": f"number:+{OFFICE}"}, "10001", "a number that says so"),
            ({"account": "", "from_number": "020 7946 0018"}, "10001", "no account: the calling number"),
            ({"account": "unheard-of", "from_number": "020 7946 0018"}, "10001", "nobody's account: likewise"),
            ({"account": "peer:301@elsewhere"}, None, "a peer at another source"),
            ({"account": "code:301"}, None, "a peer is no code"),
            ({"account": "", "to_number": "020 7946 0018"}, None, "an outbound call does not ask who is called"),
        ],
    )
    def test_belongs_to_whom_its_account_names(
        self, billing_feed: Source, office: Customer, fields: dict[str, str], account: str | None, because: str
    ) -> None:
        deliver(ivy_file(ivy_call(**{"from_number": "", **fields})), billing_feed)
        customer = only_call().customer
        assert (customer and customer.account) == account, because

    def test_is_the_called_ones_when_it_says_inbound(
        self, billing_feed: Source, office: Customer, shop: Customer
    ) -> None:
        make_identity(customer=shop, value=MOBILE)
        calls = {"direction": "inbound", "from_number": "02079460018"}  # the office calls the shop's mobile
        deliver(
            ivy_file(
                ivy_call(call_id="by-account", **calls, account="10002"),
                ivy_call(call_id="by-number", **calls, account=""),
                ivy_call(call_id="of-two", **calls, account="10001"),
            ),
            billing_feed,
        )
        assert whose("by-account") == (shop, "inbound")
        assert whose("by-number") == (shop, "inbound")
        assert why("of-two") == ("ambiguous_customer", "It names the customers 10001 and 10002.")

    def test_names_two_where_account_and_calling_number_differ(
        self, billing_feed: Source, office: Customer, shop: Customer
    ) -> None:
        deliver(ivy_file(ivy_call(call_id="odd", account="10002", from_number="02079460018")), billing_feed)
        assert why("odd") == ("ambiguous_customer", "It names the customers 10001 and 10002.")
