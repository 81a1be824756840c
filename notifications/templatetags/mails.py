"""What the templates of mails ask for beyond Django's own filters."""

from functools import lru_cache

from django import template
from django.utils.text import wrap

register = template.Library()

COLUMNS = 72
KEPT = 512


@register.filter
@lru_cache(maxsize=KEPT)
def wrapped(text: str) -> str:
    """The text in lines of at most 72 letters, as `wordwrap` makes them; once, what all mails have alike."""
    return wrap(str(text), COLUMNS)
