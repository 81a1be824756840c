"""What post-office's templates ask for, the same as Ivy's own."""

from django import template

from notifications.wording import wrapped

register = template.Library()
register.filter("wrapped", wrapped)
