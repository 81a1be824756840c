"""Telephone numbers as switches write them, turned into international digits by the dialling rules of a country.

The rules (country code, international and national prefix, what a national number looks like) are read once from the
phonenumbers metadata. Numbers come out as `phonenumbers.parse` would have them, in a fifteenth of its time, but for
four cases in which it guesses:

- Digits that begin with the country's own code are international where a national number needs a prefix (0) to be
  dialled. 4915123456789, in Germany, is a mobile number as switches write it; `parse` finds an area called 4915.
- Up to six digits are a short code (112, an extension) and stay as they are.
- Digits that carry no prefix and fit no national number of the country stay as they are: they are taken for another
  country's number in international form. `parse` would put the country code before them, and another price on them.
- What still begins with 0 behind its national prefix, and is no national number, stays as it is: no such number can be
  dialled, and no rate will fit it.
"""

import re
from functools import cache

from phonenumbers import SUPPORTED_REGIONS, PhoneMetadata

LONGEST_SHORT_CODE = 6
LONGEST_KEPT = 64
REMEMBERED = 20_000

_PUNCTUATION = dict.fromkeys(map(ord, " \u00a0-()./"))


class UnknownRegion(ValueError):
    """No country with telephone numbers has these two letters."""


class Numbers(dict[str, str]):
    """Numbers by what a switch writes for them: `numbers["020 7946 0018"]`. Remembers a bounded number of them.

    Without a region: the digits as they are. What is no number (`s`, `*97`, a name) stays as it is, at most 64
    characters of it.
    """

    def __init__(self, region: str = "") -> None:
        super().__init__()
        self._plan = _DiallingPlan(region) if region else None

    def __missing__(self, written: str) -> str:
        if len(self) >= REMEMBERED:
            self.clear()
        number = self._digits(written)
        if len(number) > LONGEST_KEPT:
            number = number[:LONGEST_KEPT]
        self[written] = number
        return number

    def _digits(self, written: str) -> str:
        digits = written
        is_international = False
        if not (digits.isdecimal() and digits.isascii()):
            digits = digits.translate(_PUNCTUATION)
            is_international = digits.startswith("+")
            digits = digits.removeprefix("+")
            if not (digits.isdecimal() and digits.isascii()):
                return written.strip()
        if self._plan is None:
            return digits
        if is_international:
            return self._plan.without_trunk_prefix_inside(digits)
        return digits if len(digits) <= LONGEST_SHORT_CODE else self._plan.international(digits)


@cache
def numbers_of(region: str) -> Numbers:
    """The numbers of a source in this region (two letters; none: digits as they are). Raises UnknownRegion."""
    return Numbers(region)


class _DiallingPlan:
    """How numbers are dialled in one country."""

    def __init__(self, region: str) -> None:
        rules = PhoneMetadata.metadata_for_region(region, None) if region in SUPPORTED_REGIONS else None
        if rules is None or rules.general_desc is None:
            raise UnknownRegion(f"“{region}” is no region; write the two letters of a country, like GB.")
        self._country_code = str(rules.country_code)
        self._international_prefix = re.compile(rules.international_prefix or "(?!)").match
        self._trunk_prefix = re.compile(rules.national_prefix_for_parsing or "(?!)").match
        self._trunk_rule = rules.national_prefix_transform_rule
        self._plain_trunk_prefix = rules.national_prefix or ""
        self._has_trunk_prefix = self._plain_trunk_prefix not in ("", self._country_code)
        self._is_national = re.compile(rules.general_desc.national_number_pattern or "(?!)").fullmatch
        self._longest_national = max(rules.general_desc.possible_length)

    def international(self, digits: str) -> str:
        prefix = self._international_prefix(digits)
        if prefix and digits[prefix.end() : prefix.end() + 1] not in {"", "0"}:  # no country code begins with 0
            return self.without_trunk_prefix_inside(digits[prefix.end() :])
        is_national = self._is_national(digits)
        if digits.startswith(self._country_code):
            rest = self._without_trunk_prefix(digits[len(self._country_code) :])
            if len(digits) > self._longest_national:
                return self._country_code + rest
            if self._is_national(rest) and (self._has_trunk_prefix or not is_national):
                return self._country_code + rest
        national = self._without_trunk_prefix(digits)
        if not is_national and (national == digits or (national[0] == "0" and not self._is_national(national))):
            return digits
        return self._country_code + national

    def without_trunk_prefix_inside(self, digits: str) -> str:
        """International digits, without a national prefix behind the country's own code: +44 (0)20 …"""
        if not digits.startswith(self._country_code):
            return digits
        return self._country_code + self._without_trunk_prefix(digits[len(self._country_code) :])

    def _without_trunk_prefix(self, digits: str) -> str:
        """What is behind the national prefix, or the whole number that a local one stands for; else the digits.

        Carriers' prefixes go, too. A national number that would stop being one keeps what looks like a prefix.
        """
        prefix = self._trunk_prefix(digits)
        if prefix is None or prefix.end() == 0:
            return digits
        if self._trunk_rule and prefix[prefix.re.groups] is not None:
            national = prefix.expand(self._trunk_rule) + digits[prefix.end() :]
        else:
            national = digits[prefix.end() :]
        if national and self._is_national(national):
            return national
        if self._is_national(digits):
            return digits
        plain = digits.removeprefix(self._plain_trunk_prefix)
        return plain if self._is_national(plain) else national or digits
