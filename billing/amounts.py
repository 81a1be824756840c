"""Amounts as people read them."""

from decimal import Decimal

from billing.periods import currency_digits


def money(amount: Decimal, currency: str) -> str:
    """An amount as staff read it: all its decimals, at least those of the currency. `1,234.50 GBP`, `-0.0345 GBP`."""
    exponent = amount.normalize().as_tuple().exponent
    decimals = max(currency_digits(currency), -exponent if isinstance(exponent, int) else 0)
    return f"{amount:,.{decimals}f} {currency}"
