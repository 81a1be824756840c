"""Keys of ledger entries, built from natural ids, so that a cause is charged once whoever asks again.

Names that come from outside are written with % as %25 and # as %23: `#2` at the end of a key means "charged a second
time". The SQL functions `key_part`, `call_key` and `item_key` do the same.
"""

from datetime import date


def key_part(name: str) -> str:
    """A name from outside, as it stands inside a key."""
    return name.replace("%", "%25").replace("#", "%23")


def call_key(source: str, call_id: str) -> str:
    """`call:source:call-id`"""
    return f"call:{source}:{key_part(call_id)}"


def item_key(reference: str, start: date) -> str:
    """`item:reference:period-start`"""
    return f"item:{key_part(reference)}:{start.isoformat()}"


def payment_key(source: str, reference: str) -> str:
    """`payment:source:reference`"""
    return f"payment:{key_part(source)}:{key_part(reference)}"


def opening_key(account: str) -> str:
    """`opening:account`"""
    return f"opening:{key_part(account)}"


def reversal_key(key: str) -> str:
    """`reversal:key`, of a whole key, which is escaped already"""
    return f"reversal:{key}"


def adjustment_key(account: str, reference: str) -> str:
    """`adjustment:account:reference`"""
    return f"adjustment:{key_part(account)}:{key_part(reference)}"


def credit_key(account: str, reference: str) -> str:
    """`credit:staff:account:reference`"""
    return f"credit:staff:{key_part(account)}:{key_part(reference)}"


def item_credit_key(reference: str, ends_on: date) -> str:
    """`credit:item:reference:end`"""
    return f"credit:item:{key_part(reference)}:{ends_on.isoformat()}"
