from unfold.forms import UserChangeForm as UnfoldUserChangeForm
from unfold.forms import UserCreationForm as UnfoldUserCreationForm

from billing.admin.base import SeenForm
from ivy.accounts.models import User


class UserCreationForm(UnfoldUserCreationForm):
    """Makes a user from an e-mail address and a password."""

    class Meta:
        model = User
        fields = ("email", "name")


class UserChangeForm(SeenForm, UnfoldUserChangeForm):
    """A role that was taken away is not given back by a form that was open then."""

    class Meta:
        model = User
        fields = "__all__"  # UserAdmin's fieldsets choose
