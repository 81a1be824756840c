"""Files of call records, made for tests: a call is a mapping of columns, and what is not given is unremarkable.

Everything happened in March 2024, long enough ago for any clock. Numbers come from the ranges kept for drama.
"""

import csv
import io
from collections.abc import Iterable
from itertools import count
from typing import Any

from billing.imports import calls
from billing.imports.call_formats.ivy import COLUMNS
from billing.models import CallRecord, Customer, Delivery, QuarantinedCall, Source

OFFICE = "442079460018"
SHOP = "442079460077"
MOBILE = "447700900123"
_numbers = count(1)

IVY_CALL = {
    "account": "10001",
    "direction": "outbound",
    "from_number": "+44 20 7946 0018",
    "to_number": "+44 7700 900123",
    "started_at": "2024-03-04T09:30:00Z",
    "answered_at": "2024-03-04T09:30:05Z",
    "ended_at": "2024-03-04T09:31:05Z",
    "billsec": "60",
    "disposition": "answered",
}

# Asterisk's columns in their order; the last three only in newer files.
ASTERISK_COLUMNS = (
    *("accountcode", "src", "dst", "dcontext", "clid", "channel", "dstchannel", "lastapp", "lastdata"),
    *("start", "answer", "end", "duration", "billsec", "disposition", "amaflags", "uniqueid", "userfield"),
    *("peeraccount", "linkedid", "sequence"),
)
BARE_COLUMNS = ("duration", "billsec", "sequence")  # Asterisk writes these three without quotes

ASTERISK_CALL = {
    "accountcode": "",
    "src": "02079460018",
    "dst": "07700900123",
    "dcontext": "from-office",
    "clid": '"Astrid Holm" <02079460018>',
    "channel": "PJSIP/301-0000002a",
    "dstchannel": "PJSIP/carrier-0000002b",
    "lastapp": "Dial",
    "lastdata": "PJSIP/07700900123@carrier,60",
    "start": "2024-03-04 09:30:00",
    "answer": "2024-03-04 09:30:05",
    "end": "2024-03-04 09:31:05",
    "duration": "65",
    "billsec": "60",
    "disposition": "ANSWERED",
    "amaflags": "DOCUMENTATION",
    "uniqueid": "1709544600.42",
    "userfield": "",
    "peeraccount": "",
    "linkedid": "1709544600.42",
    "sequence": "7",
}


def ivy_call(**fields: str) -> dict[str, str]:
    """An answered minute from the office to a mobile, with an id of its own."""
    return {"call_id": f"leg-{next(_numbers)}", **IVY_CALL, **fields}


def missed_ivy_call(**fields: str) -> dict[str, str]:
    """One that nobody answered."""
    return ivy_call(**{"answered_at": "", "billsec": "0", "disposition": "no answer", **fields})


def ivy_file(*calls_in_it: dict[str, str], columns: Iterable[str] = COLUMNS) -> bytes:
    """A CSV file with a header."""
    columns = list(columns)
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(calls_in_it)
    return text.getvalue().encode("utf-8", "surrogateescape")


def asterisk_call(**fields: str) -> dict[str, str]:
    """An answered minute from peer 301 to a mobile, with a sequence of its own."""
    return {**ASTERISK_CALL, "sequence": str(next(_numbers)), **fields}


def asterisk_file(*calls_in_it: dict[str, str], columns: Iterable[str] = ASTERISK_COLUMNS) -> bytes:
    """Master.csv: no header, all texts in quotes."""
    columns = list(columns)
    lines = (
        ",".join(
            call[column] if column in BARE_COLUMNS else '"' + call[column].replace('"', '""') + '"'
            for column in columns
        )
        for call in calls_in_it
    )
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")


def deliver(content: bytes, source: Source, *, file_name: str = "calls.csv") -> calls.CallImport:
    """Import the content, and prove that every record of it has one fate and is where that says."""
    before = CallRecord.objects.count()
    result = calls.take_in(calls.read(io.BytesIO(content), source=source), source=source, file_name=file_name)
    delivery = Delivery.objects.latest("pk")
    assert delivery.finished_at is not None
    assert result.as_json() == {
        fate: getattr(delivery, f"{fate}_count")
        for fate in ("read", "accepted", "duplicate", "quarantined", "unparsable")
    }
    assert result.read == result.accepted + result.duplicate + result.quarantined + result.unparsable
    assert CallRecord.objects.count() - before == result.accepted + result.quarantined
    assert sum(batch.call_count for batch in delivery.batches.all()) == result.accepted
    return result


def fates(result: calls.CallImport) -> tuple[int, int, int, int]:
    """Accepted, duplicate, quarantined, unparsable."""
    return result.accepted, result.duplicate, result.quarantined, result.unparsable


def why(call_id: str) -> tuple[str, str] | None:
    """Reason and detail of the record in quarantine; None when there is none."""
    return QuarantinedCall.objects.filter(call_key__endswith=f":{call_id}").values_list("reason", "detail").first()


def whose(call_id: str) -> tuple[Customer | None, str]:
    """Customer and direction of the record."""
    call = CallRecord.objects.select_related("customer").get(call_id=call_id)
    return call.customer, call.direction


def only_call(**filters: Any) -> CallRecord:
    return CallRecord.objects.get(**filters)
