"""Advisory locks are numbers that all of a database share: two things under one number keep each other waiting."""

import re
from collections import Counter

from django.conf import settings


def test_each_number_is_given_once() -> None:
    given = Counter(
        number
        for app in ("billing", "notifications", "ivy")
        for path in (settings.BASE_DIR / app).rglob("*.py")
        for number in re.findall(r"\b1_230_[0-9]{3}\b", path.read_text())
    )
    assert len(given) > 10
    assert [number for number, times in given.items() if times > 1] == []
