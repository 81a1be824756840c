from typing import Any, ClassVar

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.core.mail import send_mail
from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone


def lower_case(email: str) -> str:
    """The one spelling in which an address is stored and looked up, so that unique means unique in any case."""
    return email.strip().lower()


class UserManager(BaseUserManager["User"]):
    """Makes users; finds them by e-mail address, in whatever case it was typed."""

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "User":
        """A user without staff rights, unless `fields` says otherwise. Without a password nobody can log in as them."""
        if not email:
            raise ValueError("A user needs an e-mail address")
        user = self.model(email=lower_case(email), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> "User":
        """A member of staff who may do everything."""
        return self.create_user(email, password, **{"is_staff": True, "is_superuser": True, **fields})

    def get_by_natural_key(self, email: str | None) -> "User":
        return self.get(email=lower_case(email or ""))


class User(AbstractBaseUser, PermissionsMixin):
    """A person who logs in with an e-mail address: staff in the admin, partners in their portal."""

    email = models.EmailField("e-mail address", max_length=254, help_text="Used to log in; upper or lower case alike.")
    name = models.CharField("name", max_length=150, blank=True)
    is_staff = models.BooleanField("staff", default=False, help_text="May open the admin.")
    is_active = models.BooleanField(
        "active", default=True, help_text="May log in. Take this away instead of deleting a user."
    )
    date_joined = models.DateTimeField("joined at", default=timezone.now, editable=False)

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    objects = UserManager()

    class Meta:
        ordering = ("email",)
        constraints = [
            models.UniqueConstraint(
                fields=["email"],
                name="one_user_per_email_address",
                violation_error_message="There is a user with this e-mail address already.",
            ),
            models.CheckConstraint(condition=models.Q(email=Lower("email")), name="email_addresses_are_in_lower_case"),
            models.CheckConstraint(condition=~models.Q(email=""), name="a_user_has_an_email_address"),
        ]

    def __str__(self) -> str:
        return self.email

    def get_full_name(self) -> str:
        return self.name or self.email

    def get_short_name(self) -> str:
        return self.name.split(" ", 1)[0] or self.email

    def clean(self) -> None:
        self.email = lower_case(self.email)

    def email_user(self, subject: str, message: str, from_email: str | None = None) -> None:
        send_mail(subject, message, from_email, [self.email])
