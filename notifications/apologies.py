"""What apologies would say, before anybody orders them: one to look at for each of the things that they can say."""

from collections.abc import Sequence
from dataclasses import dataclass

from notifications import rendering
from notifications.copies import copies_of
from notifications.models import NotificationLog
from notifications.rendering import Unusable, Written


@dataclass(frozen=True)
class Sample:
    """One apology of `count` that say the like: as it would be written now, or why it can't be.

    `is_right`: the mails that it is for were too many, but right; the others were wrong.
    """

    count: int
    is_right: bool
    account: str
    written: Written | None
    why_not: str = ""


def samples(errant_keys: Sequence[str]) -> list[Sample]:
    """What the apologies for these mails would say; of a recipient's mails, name those that one would be owed for.

    A handful of queries, however many mails. Writes nothing.
    """
    ids = list(NotificationLog.objects.filter(key__in=errant_keys).order_by("pk").values_list("pk", flat=True))
    alike: dict[tuple[bool, bool], list[int]] = {}
    for pk, copies in sorted(copies_of(ids).items()):
        alike.setdefault((copies.is_right, copies.times > 1), []).append(pk)
    found = [_sample(members, is_right=is_right) for (is_right, _), members in alike.items()]
    return sorted(found, key=lambda sample: -sample.count)


def _sample(errant_ids: Sequence[int], *, is_right: bool) -> Sample:
    errant = rendering.known(errant_ids[:1])[errant_ids[0]]
    account = errant.customer.account
    try:
        return Sample(len(errant_ids), is_right, account, rendering.render(rendering.apology_for(errant)))
    except Unusable as why:
        return Sample(len(errant_ids), is_right, account, None, str(why))
