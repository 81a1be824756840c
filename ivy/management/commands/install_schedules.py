import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import ProgrammingError
from psycopg.errors import UndefinedTable

from ivy import schedules


class Command(BaseCommand):
    help = "Create missing schedules of the queue and repair damaged ones. Safe to repeat."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object: schedules, repaired")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            repaired = schedules.install()
        except ProgrammingError as error:
            if isinstance(error.__cause__, UndefinedTable):
                raise CommandError("The database has no table of schedules yet: run migrate first") from error
            raise
        names = [wanted.name for wanted in schedules.SCHEDULES]
        if options["json"]:
            self.stdout.write(json.dumps({"schedules": names, "repaired": repaired}))
            return
        for sentence in repaired or [f"Nothing to do: {', '.join(names)} are in place."]:
            self.stdout.write(sentence)
