from typing import Any

from billing import reconcile
from billing.management.base import DONE, FAILED, IvyCommand
from notifications import reconcile as notifications_reconcile


class Command(IvyCommand):
    help = "Prove over the whole database that what must always hold does hold. Writes nothing; exit 1 for drift."

    def handle(self, *args: Any, **options: Any) -> None:
        drift: list[dict[str, str]] = []
        sentences: list[str] = []
        found = checked = 0
        for rule, broken, examples in reconcile.checks([*reconcile.RULES, *notifications_reconcile.RULES]):
            checked += 1
            found += broken
            drift += [{"rule": one.rule, "key": one.key, "found": one.found} for one in examples]
            if not options["json"]:
                self.stderr.write(f"{'DRIFT' if broken else 'ok   '} {rule.name}")
            sentences += [f"{one.rule}: {one.key}: {one.found}" for one in examples]
            if broken > len(examples):
                sentences.append(f"{rule.name}: ... and {broken - len(examples)} more.")
        result = {"ok": not found, "checked": checked, "drift": drift}
        sentences.append(f"{checked} rules checked, {found or 'no'} drift.")
        self.answer(options, result, "\n".join(sentences), FAILED if found else DONE)
