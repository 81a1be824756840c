#!/usr/bin/env python
"""The door for operators: `python manage.py NAME`."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ivy.settings")
    try:
        from django.core.management import execute_from_command_line  # noqa: PLC0415
    except ImportError:
        sys.exit("Django is not installed here: run script/server once, or use .venv/bin/python")
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
