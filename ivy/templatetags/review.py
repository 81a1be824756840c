"""How the pages about mails write what has a name in the program."""

from django.template import Library

register = Library()


@register.filter
def spoken(name: str) -> str:
    """A kind of mail as people say it: `low balance`."""
    return name.replace("_", " ")
