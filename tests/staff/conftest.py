"""What tests of the control room share: the mail server that Ivy's mails go to."""

from tests.notifications.conftest import mail_server

__all__ = ["mail_server"]
