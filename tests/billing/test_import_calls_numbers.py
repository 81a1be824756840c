"""Numbers by the dialling rules of a country: a table of cases, and the metadata's own examples for every country."""

import re

import phonenumbers
import pytest
from phonenumbers import PhoneMetadata, PhoneNumberFormat

from billing.imports import numbers
from billing.imports.numbers import Numbers, UnknownRegion, numbers_of


class TestANumber:
    @pytest.mark.parametrize(
        ("region", "written", "digits", "because"),
        [
            ("GB", "+442079460018", "442079460018", "international already"),
            ("GB", "00442079460018", "442079460018", "the international prefix goes"),
            ("GB", "02079460018", "442079460018", "the national prefix goes, the country comes"),
            ("GB", "2079460018", "442079460018", "a national number without its prefix"),
            ("GB", "442079460018", "442079460018", "the country's code, without any sign"),
            ("GB", "4402079460018", "442079460018", "both, as people write +44 (0)20"),
            ("GB", "+44 (0)20 7946-0018", "442079460018", "likewise, with what makes it readable"),
            ("GB", "020.7946/0018", "442079460018", "dots and slashes"),
            ("GB", "00\u00a049 30 23125 000", "493023125000", "a country abroad"),
            ("GB", "33199001234", "33199001234", "no national number: taken for a foreign one"),
            ("GB", "112", "112", "a short code"),
            ("GB", "123456", "123456", "six digits are short"),
            ("GB", "000442079460018", "000442079460018", "nobody can dial this"),
            ("GB", "", "", "no number"),
            ("GB", "s", "s", "an Asterisk extension"),
            ("GB", "*97", "*97", "a feature code"),
            ("GB", "0207946001#", "0207946001#", "no digits alone"),
            ("GB", "anonymous", "anonymous", "a word"),
            ("GB", "٠٢٠٧٩٤٦٠٠١٨", "٠٢٠٧٩٤٦٠٠١٨", "other digits are none to a switch"),
            ("GB", "x" * 100, "x" * 64, "so much is kept"),
            ("US", "2025550100", "12025550100", "ten digits"),
            ("US", "12025550100", "12025550100", "with the long-distance 1"),
            ("US", "(202) 555-0100", "12025550100", "as written"),
            ("US", "011442079460018", "442079460018", "011"),
            ("DE", "03023125000", "493023125000", "0 and the area"),
            ("IT", "0236618300", "390236618300", "in Italy the 0 belongs to the number"),
            ("RU", "89161234567", "79161234567", "8 is the national prefix"),
            ("RU", "810442079460018", "442079460018", "810 the international one"),
            ("AU", "0011442079460018", "442079460018", "one of several international prefixes"),
            ("CO", "03211234567", "573211234567", "the 0 alone goes where a carrier's prefix does not fit"),
            ("", "00442079460018", "00442079460018", "no region, no rules"),
            ("", "+44 20 7946 0018", "442079460018", "but signs go"),
            ("", "02079460018", "02079460018", "digits as they are"),
        ],
    )
    def test_becomes_international_digits(self, region: str, written: str, digits: str, because: str) -> None:
        assert Numbers(region)[written] == digits, because

    def test_of_no_country_is_refused(self) -> None:
        for region in ("ZZ", "gb", "GBR", "001"):
            with pytest.raises(UnknownRegion, match="two letters of a country"):
                numbers_of(region)


@pytest.mark.parametrize("region", sorted(phonenumbers.SUPPORTED_REGIONS))
def test_every_countrys_examples_come_out_as_the_library_parses_them(region: str) -> None:
    rules = PhoneMetadata.metadata_for_region(region, None)
    found = Numbers(region)
    for kind in ("fixed_line", "mobile", "toll_free", "premium_rate", "voip", "shared_cost", "personal_number"):
        example = getattr(rules, kind) and getattr(rules, kind).example_number
        if not example:
            continue
        number = phonenumbers.parse(example, region)
        expected = phonenumbers.format_number(number, PhoneNumberFormat.E164).removeprefix("+")
        ways = [
            f"+{expected}",
            expected,
            example,
            phonenumbers.format_number(number, PhoneNumberFormat.NATIONAL),
            phonenumbers.format_number(number, PhoneNumberFormat.INTERNATIONAL),
        ]
        if re.fullmatch("[0-9]+", rules.international_prefix or ""):
            ways.append(rules.international_prefix + expected)
        for way in ways:
            if len(re.sub("[^0-9]", "", way)) > numbers.LONGEST_SHORT_CODE:
                assert found[way] == expected, (kind, way)


def test_only_so_many_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numbers, "REMEMBERED", 100)
    found = Numbers("GB")
    for line in range(1000):
        assert found[f"0207946{line:04d}"] == f"44207946{line:04d}"
    assert len(found) <= 100
