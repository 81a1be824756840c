"""Phone numbers that ring nobody: the ranges that regulators keep free for films, books and examples.

Every number in the demo world comes from here. The lower half of a range is given to customers, the upper half to the
people they talk to, so that nobody is both.
"""

from typing import NamedTuple

from ivy.demo.dice import Dice

OFCOM = "Ofcom: telephone numbers for use in TV and radio drama programmes"
NANPA = "NANPA, 555 line numbers: 0100 to 0199 are fictional in every area code"
BNETZA = "Bundesnetzagentur: drama numbers, Mitteilung 148/2021, Amtsblatt 7/2021"
ARCEP = "Arcep: numbers for audiovisual works in the national numbering plan (decision 2018-0881)"
ACMA = "ACMA: phone numbers for use in TV shows, films and creative works"
PTS = "PTS: telefonnummer till böcker och filmer"
COMREG = "ComReg, numbering conventions: 020 91 is for drama"


class Range(NamedTuple):
    """Numbers `prefix` and a suffix from `first` to `last`, padded with zeros to the width of `last`."""

    country: str
    place: str
    prefix: str
    first: str
    last: str
    source: str
    is_mobile: bool = False

    def number(self, index: int) -> str:
        """The number at this place in the range, as digits in international form."""
        return f"{self.prefix}{int(self.first) + index:0{len(self.last)}d}"

    @property
    def size(self) -> int:
        return int(self.last) - int(self.first) + 1

    def __contains__(self, number: object) -> bool:
        if not isinstance(number, str) or not number.startswith(self.prefix):
            return False
        suffix = number[len(self.prefix) :]
        return len(suffix) == len(self.last) and self.first <= suffix <= self.last


MOBILE = "mobile"
FREEPHONE = "freephone"

RANGES = (
    Range("GB", "London", "442079460", "000", "999", OFCOM),
    Range("GB", "Leeds", "441134960", "000", "999", OFCOM),
    Range("GB", "Sheffield", "441144960", "000", "999", OFCOM),
    Range("GB", "Nottingham", "441154960", "000", "999", OFCOM),
    Range("GB", "Leicester", "441164960", "000", "999", OFCOM),
    Range("GB", "Bristol", "441174960", "000", "999", OFCOM),
    Range("GB", "Reading", "441184960", "000", "999", OFCOM),
    Range("GB", "Birmingham", "441214960", "000", "999", OFCOM),
    Range("GB", "Edinburgh", "441314960", "000", "999", OFCOM),
    Range("GB", "Glasgow", "441414960", "000", "999", OFCOM),
    Range("GB", "Liverpool", "441514960", "000", "999", OFCOM),
    Range("GB", "Manchester", "441614960", "000", "999", OFCOM),
    Range("GB", "Tyneside", "441914980", "000", "999", OFCOM),
    Range("GB", "elsewhere", "441632960", "000", "999", OFCOM),
    Range("GB", MOBILE, "447700900", "000", "999", OFCOM, is_mobile=True),
    Range("GB", FREEPHONE, "448081570", "000", "999", OFCOM),
    Range("US", "New York", "1212555", "0100", "0199", NANPA),
    Range("US", "Boston", "1617555", "0100", "0199", NANPA),
    Range("US", "Miami", "1305555", "0100", "0199", NANPA),
    Range("US", "Chicago", "1312555", "0100", "0199", NANPA),
    Range("US", "Dallas", "1214555", "0100", "0199", NANPA),
    Range("US", "Denver", "1303555", "0100", "0199", NANPA),
    Range("US", "Phoenix", "1602555", "0100", "0199", NANPA),
    Range("US", "Los Angeles", "1213555", "0100", "0199", NANPA),
    Range("US", "San Francisco", "1415555", "0100", "0199", NANPA),
    Range("US", "Seattle", "1206555", "0100", "0199", NANPA),
    Range("US", "Honolulu", "1808555", "0100", "0199", NANPA),
    Range("CA", "Toronto", "1416555", "0100", "0199", NANPA),
    Range("CA", "Vancouver", "1604555", "0100", "0199", NANPA),
    Range("DE", "Berlin", "493023125", "000", "999", BNETZA),
    Range("DE", "Hamburg", "494066969", "000", "999", BNETZA),
    Range("DE", "Frankfurt", "496990009", "000", "999", BNETZA),
    Range("DE", "Cologne", "492214710", "000", "999", BNETZA),
    Range("DE", "Munich", "498999998", "000", "999", BNETZA),
    Range("DE", MOBILE, "4917139200", "00", "99", BNETZA, is_mobile=True),
    Range("DE", MOBILE, "49176040690", "00", "99", BNETZA, is_mobile=True),
    Range("FR", "Paris", "3319900", "0000", "9999", ARCEP),
    Range("FR", "Nantes", "3326191", "0000", "9999", ARCEP),
    Range("FR", "Strasbourg", "3335301", "0000", "9999", ARCEP),
    Range("FR", "Lyon", "3346571", "0000", "9999", ARCEP),
    Range("FR", "Toulouse", "3353649", "0000", "9999", ARCEP),
    Range("FR", MOBILE, "3363998", "0000", "9999", ARCEP, is_mobile=True),
    Range("AU", "Sydney", "6125550", "0000", "9999", ACMA),
    Range("AU", "Melbourne", "6135550", "0000", "9999", ACMA),
    Range("AU", MOBILE, "61491570", "156", "159", ACMA, is_mobile=True),
    Range("SE", "Stockholm", "46846500", "400", "499", PTS),
    Range("SE", "Gothenburg", "46313900", "600", "699", PTS),
    Range("SE", "Malmö", "46406280", "400", "499", PTS),
    Range("SE", MOBILE, "46701740", "605", "699", PTS, is_mobile=True),
    Range("IE", "everywhere", "3532091", "00000", "99999", COMREG),
)
_RANGE_OF = {(numbers.country, numbers.place): numbers for numbers in RANGES if not numbers.is_mobile}
_LANDLINES = {
    country: [numbers for numbers in RANGES if numbers.country == country and not numbers.is_mobile]
    for country in dict.fromkeys(numbers.country for numbers in RANGES)
}
_MOBILES = {
    country: [numbers for numbers in RANGES if numbers.country == country and numbers.is_mobile]
    for country in _LANDLINES
}


def customers_number(country: str, place: str, index: int) -> str:
    """The customers' number of that place with this index; each is given out by whoever counts."""
    numbers = _RANGE_OF[country, place]
    assert index < numbers.size // 2, f"{place} has no number left"
    return numbers.number(index)


def somebodys_number(dice: Dice, country: str, *, is_mobile: bool) -> str:
    """The number of anybody in a country who is no customer; a landline where the country has no mobile numbers."""
    numbers = dice.one_of(_MOBILES[country] if is_mobile and _MOBILES[country] else _LANDLINES[country])
    return numbers.number(dice.between(numbers.size // 2, numbers.size - 1))


def is_fictional(number: str) -> bool:
    """Whether the digits, in international form, are one of the reserved numbers."""
    return any(number in numbers for numbers in RANGES)
