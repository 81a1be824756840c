"""Where a reader goes on: opaque to it, signed, and good for the list and the partner that it was made for."""

from collections.abc import Sequence

from django.core import signing

from ivy.portal.scope import Scope


class BadCursor(ValueError):
    """Made up, of another list, or of somebody else."""


def write(scope: Scope, of_list: str, place: Sequence[int | str]) -> str:
    """`of_list` names the list with all that it was asked for but its page."""
    return signing.dumps(list(place), key=None, salt=_salt(scope, of_list))


def read(scope: Scope, of_list: str, text: str) -> list[int | str]:
    """Raises BadCursor."""
    try:
        place = signing.loads(text, salt=_salt(scope, of_list))
    except (signing.BadSignature, ValueError) as error:
        raise BadCursor("This is no cursor of this list.") from error
    assert isinstance(place, list)
    return place


def _salt(scope: Scope, of_list: str) -> str:
    return f"ivy.portal.api:{scope.partner.pk}:{of_list}"
