"""Files as further switches write them: a call is a mapping of columns, and what is not given is unremarkable.

The same unremarkable call everywhere: an answered minute from the office to a mobile, on the morning of 4 March 2024.
"""

import json
from collections.abc import Iterable, Mapping
from itertools import count
from typing import Any
from urllib.parse import quote

from billing.imports.call_formats.asterisk_custom import MASTER_CSV
from billing.imports.call_formats.freeswitch_csv import DEFAULT
from billing.imports.call_formats.threecx import FIELDS
from tests.billing.call_files import ASTERISK_CALL

EXAMPLE = (*DEFAULT, "read_codec", "write_codec")
STARTED, ANSWERED, ENDED = 1709544600, 1709544605, 1709544665  # 09:30:00, 09:30:05 and 09:31:05 UTC
_numbers = count(1)


def _number() -> int:
    return next(_numbers)


def _uuid() -> str:
    return f"5f0e8c1a-0d3b-4b52-9d6c-{_number():012x}"


def _lines(rows: Iterable[str], end: str = "\n") -> bytes:
    return "".join(row + end for row in rows).encode("utf-8", "surrogateescape")


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


# Asterisk, cdr_custom


def custom_call(**fields: str) -> dict[str, str]:
    return {**ASTERISK_CALL, "sequence": str(_number()), **fields}


def custom_file(*calls: Mapping[str, str], columns: Iterable[str] = MASTER_CSV, header: bool = False) -> bytes:
    """As the mapping of the sample writes it: everything in quotes but the sequence; a header is the operator's."""
    columns = list(columns)
    rows = (
        ",".join(call[name] if name == "sequence" else _quoted(call.get(name, "")) for name in columns)
        for call in calls
    )
    return (_lines([",".join(columns)]) if header else b"") + _lines(rows)


# FreeSWITCH, mod_cdr_csv

FREESWITCH_CALL = {
    "caller_id_name": "Astrid Holm",
    "caller_id_number": "02079460018",
    "destination_number": "07700900123",
    "context": "default",
    "start_stamp": "2024-03-04 09:30:00",
    "answer_stamp": "2024-03-04 09:30:05",
    "end_stamp": "2024-03-04 09:31:05",
    "duration": "65",
    "billsec": "60",
    "hangup_cause": "NORMAL_CLEARING",
    "bleg_uuid": "",
    "accountcode": "10001",
    "read_codec": "PCMA",
    "write_codec": "PCMA",
}


def freeswitch_call(**fields: str) -> dict[str, str]:
    return {"uuid": _uuid(), **FREESWITCH_CALL, **fields}


def freeswitch_file(*calls: Mapping[str, str], columns: Iterable[str] = EXAMPLE, header: bool = False) -> bytes:
    """As a template writes it: every variable in quotes, and what is inside just as it is."""
    columns = list(columns)
    rows = (",".join(f'"{call.get(name, "")}"' for name in columns) for call in calls)
    return (_lines([",".join(columns)]) if header else b"") + _lines(rows)


# FreeSWITCH, mod_json_cdr


def json_leg(*, profile: Mapping[str, Any] | None = None, is_encoded: bool = True, **variables: Any) -> dict[str, Any]:
    """An A-leg; a variable that is None is left out."""
    uuid = variables.pop("uuid", None) or _uuid()
    said = {
        "direction": "inbound",
        "uuid": uuid,
        "sip_from_user": "301",
        "channel_name": "sofia/internal/301@pbx.example.net",
        "accountcode": "10001",
        "user_name": "301",
        "hangup_cause": "NORMAL_CLEARING",
        "start_stamp": "2024-03-04 09:30:00",
        "start_epoch": str(STARTED),
        "start_uepoch": f"{STARTED}120000",
        "answer_stamp": "2024-03-04 09:30:05",
        "answer_epoch": str(ANSWERED),
        "answer_uepoch": f"{ANSWERED}150000",
        "end_epoch": str(ENDED),
        "end_uepoch": f"{ENDED}130000",
        "duration": "65",
        "billsec": "60",
        "billmsec": "59980",
    } | variables
    caller_profile = {
        "username": "301",
        "caller_id_name": "Astrid Holm",
        "ani": "02079460018",
        "caller_id_number": "02079460018",
        "destination_number": "07700900123",
        "uuid": uuid,
        "context": "default",
    } | dict(profile or {})
    return {
        "core-uuid": "60e127b7-2c12-49ca-aacf-00bba4eea101",
        "switchname": "harbour",
        "channel_data": {"state": "CS_REPORTING", "direction": "inbound"},
        "variables": {
            name: quote(text, safe="/ ,") if is_encoded and isinstance(text, str) else text
            for name, text in said.items()
            if text is not None
        },
        "app_log": {"applications": [{"app_name": "bridge", "app_data": "sofia/gateway/carrier/07700900123"}]},
        "callflow": [{"profile_index": "1", "caller_profile": caller_profile, "times": {"answered_time": "0"}}],
    }


def json_b_leg(a_leg: Mapping[str, Any], **variables: Any) -> dict[str, Any]:
    """The leg that FreeSWITCH made to bridge the other one to the outside."""
    a_uuid = a_leg["variables"]["uuid"]
    profile = {"originator": {"originator_caller_profiles": [{"uuid": a_uuid}]}}
    from_bridge = {"direction": "outbound", "originator": a_uuid, "originating_leg_uuid": a_uuid, "accountcode": None}
    return json_leg(profile=profile, **{**from_bridge, "user_name": None, **variables})


def unanswered(**variables: Any) -> dict[str, Any]:
    """What a leg says that nobody answered."""
    return {
        "answer_stamp": None,
        "answer_epoch": "0",
        "answer_uepoch": "0",
        "billsec": "0",
        "billmsec": "0",
        **variables,
    }


def json_lines(*legs: Any) -> bytes:
    """One a line."""
    return _lines(json.dumps(leg, ensure_ascii=False, separators=(",", ":")) for leg in legs)


def json_list(*legs: Any, indent: int | None = None) -> bytes:
    """All in one list."""
    return json.dumps(legs, ensure_ascii=False, indent=indent).encode("utf-8", "surrogateescape")


# 3CX

THREECX_CALL = {
    "historyid": "Call 265500",
    "duration": "00:01:00",
    "time-start": "2024/03/04 09:30:00",
    "time-answered": "2024/03/04 09:30:05",
    "time-end": "2024/03/04 09:31:05",
    "reason-terminated": "TerminatedByDst",
    "from-no": "Ext.301",
    "to-no": "07700900123",
    "from-dn": "301",
    "to-dn": "10020",
    "dial-no": "07700900123",
    "final-number": "07700900123",
    "final-dn": "10020",
    "chain": "Chain: Ext.301;07700900123;",
    "from-type": "Extension",
    "to-type": "Line",
    "final-type": "Line",
    "from-dispname": "Astrid Holm",
    "to-dispname": "Måns Lindqvist",
}
# A caller from outside reaches a queue, and is put through to an extension.
INBOUND = {
    "from-no": "07700900123",
    "to-no": "Ext.80002",
    "from-dn": "10020",
    "to-dn": "80002",
    "dial-no": "02079460018",
    "reason-changed": "ReplacedDst",
    "final-number": "Ext.301",
    "final-dn": "301",
    "chain": "Chain: 07700900123;Ext.80002;Ext.301;",
    "from-type": "Line",
    "to-type": "Queue",
    "final-type": "Extension",
}
# One desk calls another.
INSIDE = {
    "to-no": "Ext.302",
    "to-dn": "302",
    "dial-no": "302",
    "final-number": "Ext.302",
    "final-dn": "302",
    "to-type": "Extension",
    "final-type": "Extension",
}


def threecx_call(**fields: str) -> dict[str, str]:
    """Keywords are columns, with `_` for `-`."""
    given = {name.replace("_", "-"): text for name, text in fields.items()}
    return {"callid": f"89d3af2d8f010000_{_number()}", **THREECX_CALL, **given}


def threecx_file(*calls: Mapping[str, str], columns: Iterable[str] = FIELDS, header: bool = False) -> bytes:
    """Nothing in quotes, and the line ends of Windows."""
    columns = list(columns)
    rows = (",".join(call.get(name, "") for name in columns) for call in calls)
    return (_lines([",".join(columns)], "\r\n") if header else b"") + _lines(rows, "\r\n")
