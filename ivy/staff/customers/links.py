"""Where the pages of a customer lead, by the names of what is there."""

from django.urls import NoReverseMatch, reverse
from django.utils.http import urlencode


def customer(account: str, fragment: str = "") -> str:
    """The page that tells all of a customer."""
    return reverse("admin:customer", args=[account]) + (f"#{fragment}" if fragment else "")


def explain(key: str) -> str:
    """The page that explains an entry, a free call, or a call in quarantine."""
    return f"{reverse('admin:explain')}?{urlencode({'key': key})}"


def person(name: str) -> str:
    """What somebody with this name did."""
    return f"{reverse('admin:changes')}?{urlencode({'by': name})}"


def mail(pk: int) -> str:
    """The page of a mail: where it is reviewed or, without such a page, its row in the log."""
    try:
        return reverse("admin:review_mail", args=[pk])
    except NoReverseMatch:
        return reverse("admin:notifications_notificationlog_change", args=[pk])


def item(pk: int) -> str:
    """The page of a billing item."""
    return reverse("admin:billing_billingitem_change", args=[pk])
