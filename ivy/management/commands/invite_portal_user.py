from typing import Any

from django.core.management.base import CommandParser

from billing.management.base import IvyCommand
from billing.models import Partner
from ivy.portal import people
from ivy.portal.models import Role


class Command(IvyCommand):
    help = "Invite somebody by mail to a partner's portal; they choose a password themselves."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("partner", help="The partner's slug.")
        parser.add_argument("email")
        parser.add_argument("--role", choices=Role.values, default=Role.OWNER.value)

    def handle(self, *args: Any, **options: Any) -> None:
        partner = Partner.objects.filter(slug=options["partner"]).first()
        if partner is None:
            self.refuse(f"There is no partner “{options['partner']}”.")
        try:
            sent = people.invite(partner, email=options["email"], role=Role(options["role"]), by=self.person())
        except people.NotPossible as why:
            self.refuse(str(why))
        invitation = sent.invitation
        result = {
            "partner": partner.slug,
            "email": invitation.email,
            "role": invitation.role,
            "expires_at": invitation.expires_at.isoformat(),
            "mailed": sent.is_mailed,
        }
        mail = "" if sent.is_mailed else " The mail server did not take the mail: run it again in a minute."
        self.answer(options, result, f"{invitation.email} is invited as {invitation.role} of {partner.slug}.{mail}")
