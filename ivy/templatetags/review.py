"""How the pages about mails write what has a name in the program."""

from django.template import Library

from ivy.staff.review import meanings
from notifications.models import State

register = Library()
register.simple_tag(meanings.legend)


@register.filter
def means(state: str) -> str:
    """What the state of a mail means."""
    return meanings.MEANS[State(state)]


@register.filter
def spoken(name: str) -> str:
    """A kind of mail as people say it: `low balance`."""
    return name.replace("_", " ")
