"""Bring Ivy's database up to date and, the first time, load and bill the demo world; in one process, as it is quicker.

Run with the checkout's own Python. Writes what `load_demo` says (the log-ins) to the file given.
"""

import io
import os
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Migrate, install the schedules, load the demo world if nobody is there, and run a billing cycle."""
    sys.path.insert(0, str(CHECKOUT))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ivy.settings")

    import django
    from django.core.management import CommandError, call_command

    try:
        django.setup()
        call_command("check", stdout=io.StringIO())
        call_command("migrate", verbosity=0, interactive=False)
        call_command("install_schedules")
        answer = io.StringIO()
        call_command("load_demo", "--if-empty", "--json", stdout=answer)
        call_command("run_billing")
    except CommandError as error:
        sys.exit(str(error))
    except SystemExit as ended:
        if ended.code != 3:  # a halt that staff left in force is no reason not to start
            raise
    Path(sys.argv[1]).write_text(answer.getvalue())


if __name__ == "__main__":
    main()
