"""Files that staff send: what would come of them is shown first, then they are imported, all of it or nothing.

The importers are those of the commands, so that a file is refused here for the same lines and in the same words.
"""

import hashlib
from decimal import Decimal
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import cached_property
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminFileFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanWidget,
)

from billing.imports import csvfile, payments
from billing.imports.whole import ImportResult
from billing.models import RateDeck, Rounding
from ivy.models import Upload, UploadKind
from ivy.staff.acts import DoneAlready, Refused, act, refuse_twice
from ivy.staff.pages import ActForm, ActPage, Done, NoReasonForm, Preview, StaffPage
from ivy.staff.work.files import KINDS, LARGEST_FILE, limit, may_send, run
from ivy.staff.work.price_changes import Limits, PriceChanges

ERRORS_SHOWN = 2_000


class FileField(forms.FileField):
    """A file of a size that can be looked at while somebody waits."""

    def __init__(self) -> None:
        super().__init__(
            label="CSV file",
            widget=UnfoldAdminFileFieldWidget(attrs={"accept": ".csv,text/csv"}),
            help_text=f"UTF-8, the first line names the columns, at most {LARGEST_FILE / 1e6:g} MB.",
        )

    def clean(self, *args: Any, **kwargs: Any) -> Any:
        sent = super().clean(*args, **kwargs)
        if sent is not None and sent.size > LARGEST_FILE:
            raise forms.ValidationError(
                f"The file has {sent.size / 1e6:,.1f} MB; here it may have {LARGEST_FILE / 1e6:g} MB. Nothing was read."
                " Split it, or have an operator import it by the command, which takes any size."
            )
        return sent


class UploadForm(forms.Form):
    """A file and what it holds."""

    kind = forms.ChoiceField(label="What it holds", widget=UnfoldAdminSelectWidget)
    file = FileField()
    payment_source = forms.CharField(
        label="Source of the payments",
        required=False,
        max_length=64,
        initial=payments.DEFAULT_SOURCE,
        widget=UnfoldAdminTextInputWidget,
        help_text="Only for payments: whose references these are, a bank or a payment provider.",
    )

    def __init__(self, *args: Any, kinds: list[UploadKind], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["kind"].choices = [(kind.value, KINDS[kind].title) for kind in kinds]  # type: ignore[attr-defined]

    def clean_payment_source(self) -> str:
        return _name(self.cleaned_data["payment_source"])

    def options(self) -> dict[str, str]:
        return {"payment_source": self.cleaned_data["payment_source"]}


class DeckUploadForm(forms.Form):
    """The rates of one deck, as `import_rates` takes them, and what price changes deserve a second look."""

    deck = forms.CharField(
        label="Deck",
        max_length=64,
        widget=UnfoldAdminTextInputWidget(attrs={"list": "decks"}),
        help_text="One that exists, or the name of a new one.",
    )
    file = FileField()
    is_full = forms.BooleanField(
        label="The file is the whole deck",
        required=False,
        widget=UnfoldBooleanWidget,
        help_text="Prefixes that it does not name end; without this they stay as they are.",
    )
    full_from = forms.CharField(
        label="They end on",
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text="A date like 2027-01-01 (midnight in the deck's time zone), or a date and time.",
    )
    percent = forms.DecimalField(
        label="Mark prices that change by more than, %",
        initial=20,
        min_value=0,
        max_value=100_000,
        widget=UnfoldAdminDecimalFieldWidget,
    )
    dearest = forms.DecimalField(
        label="Mark prices a minute above",
        required=False,
        min_value=0,
        widget=UnfoldAdminDecimalFieldWidget,
        help_text="In the deck's currency.",
    )
    currency = forms.CharField(
        label="Currency of a new deck", required=False, max_length=3, widget=UnfoldAdminTextInputWidget
    )
    decimals = forms.IntegerField(
        label="Decimals of a new deck's prices",
        required=False,
        min_value=0,
        max_value=6,
        widget=UnfoldAdminDecimalFieldWidget,
        help_text="Empty: 4.",
    )
    rounding = forms.ChoiceField(
        label="Rounding of a new deck",
        required=False,
        choices=[("", "half-up"), *((one, one) for one in Rounding.values if one != Rounding.HALF_UP)],
        widget=UnfoldAdminSelectWidget,
    )
    timezone = forms.CharField(
        label="Time zone of a new deck",
        required=False,
        max_length=64,
        widget=UnfoldAdminTextInputWidget,
        help_text="Where dates begin, like Europe/Berlin. Empty: UTC.",
    )

    def clean_deck(self) -> str:
        return _name(self.cleaned_data["deck"])

    def clean_full_from(self) -> str:
        written: str = self.cleaned_data["full_from"].strip()
        if written:
            _read(csvfile.moment, written)
        return written

    def clean_currency(self) -> str:
        written: str = self.cleaned_data["currency"].strip().upper()
        return _read(csvfile.currency, written) if written else ""

    def clean_timezone(self) -> str:
        written: str = self.cleaned_data["timezone"].strip()
        return _read(csvfile.time_zone, written) if written else ""

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if "full_from" in cleaned and cleaned.get("is_full", False) != bool(cleaned["full_from"]):
            missing = "Say on which day missing prefixes end." if cleaned.get("is_full") else (
                "Only a whole deck ends prefixes: mark it as whole, or leave the day empty."
            )  # fmt: skip
            self.add_error("full_from", missing)
        return cleaned

    def options(self) -> dict[str, str]:
        names = ("deck", "full_from", "currency", "decimals", "rounding", "timezone", "percent", "dearest")
        said = {name: self.cleaned_data[name] for name in names if self.cleaned_data[name] not in {"", None}}
        return {name: value if name == "decimals" else str(value) for name, value in said.items()}


def _name(written: str) -> str:
    return _read(csvfile.name, written.strip()) if written.strip() else ""


def _read(read: Any, written: str) -> str:
    try:
        read(written)
    except csvfile.BadCell as reason:
        raise forms.ValidationError(f"“{csvfile.shown(written)}” {reason}.") from reason
    return written


class ImportPage(StaffPage):
    """Choose what a file holds, and send it. Nothing is imported yet."""

    title = "Import a CSV file"
    template_name = "admin/staff/work/upload.html"

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not self.kinds:
            raise PermissionDenied(
                "“Import a CSV file” needs a role that may change what files hold: billing has it. Nothing was changed."
            )
        return super().dispatch(request, *args, **kwargs)

    @cached_property
    def kinds(self) -> list[UploadKind]:
        return [kind for kind in UploadKind if kind != UploadKind.RATES and may_send(self.request.user, kind)]

    def form(self, sent: Any = None, files: Any = None) -> Any:
        return UploadForm(sent, files, kinds=self.kinds, initial=dict(self.request.GET.items()))

    def kind_of(self, form: Any) -> str:
        return form.cleaned_data["kind"]

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return self._ask(self.form())

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        form = self.form(request.POST, request.FILES)
        if not form.is_valid():
            return self._ask(form)
        sent = form.cleaned_data["file"]
        upload = Upload.objects.create(
            kind=self.kind_of(form),
            file_name=csvfile.shown(sent.name),
            content=sent.read(),
            options=form.options(),
            by=self.by,
        )
        return HttpResponseRedirect(reverse("admin:work_import_confirm", args=[upload.pk]))

    def _ask(self, form: Any) -> HttpResponse:
        about = [(KINDS[kind].title, ", ".join(KINDS[kind].columns)) for kind in self.kinds]
        return self.page(form=form, about=about)


class DeckImportPage(ImportPage):
    """The same for the rates of a deck."""

    permission = "billing.add_rate"
    title = "Import a price list"
    template_name = "admin/staff/work/upload_deck.html"

    @cached_property
    def kinds(self) -> list[UploadKind]:
        return [UploadKind.RATES] if may_send(self.request.user, UploadKind.RATES) else []

    def form(self, sent: Any = None, files: Any = None) -> Any:
        return DeckUploadForm(sent, files, initial=dict(self.request.GET.items()))

    def kind_of(self, form: Any) -> str:
        return UploadKind.RATES.value

    def page(self, **context: Any) -> HttpResponse:
        return super().page(decks=RateDeck.objects.values_list("name", flat=True)[:1000], **context)


class _Moved(Exception):
    """Something else would come of the file than was shown. `shown`: what would, now."""

    def __init__(self, shown: Preview) -> None:
        self.shown = shown
        super().__init__()


class ConfirmPage(ActPage):
    """What would come of the file that was sent, and the word that imports it: it, and no other."""

    title = "Import"
    button = "Import it"
    previews_at_once = True

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        upload = Upload.objects.filter(pk=kwargs["upload"]).first()
        if upload is None:
            messages.info(request, self._what_became_of_it(request.POST.get("once", "")))
            return HttpResponseRedirect(reverse("admin:work_import"))
        self.upload = upload
        if not may_send(request.user, UploadKind(upload.kind)):
            needed = ", ".join(KINDS[UploadKind(upload.kind)].permissions)
            raise PermissionDenied(f"Importing {upload.kind} needs {needed}. Nothing was changed.")
        return super().dispatch(request, *args, **kwargs)

    def _what_became_of_it(self, once: str) -> str:
        try:
            refuse_twice(UUID(once))
        except DoneAlready as already:
            return str(already)
        except ValueError:
            pass
        return "This file is not here any more: it was imported, or is more than a day old. Nothing was done."

    def form(self, sent: Any = None) -> ActForm:
        needs_reason = KINDS[UploadKind(self.upload.kind)].moves_money
        return (ActForm if needs_reason else NoReasonForm)(sent)

    def about(self) -> dict[str, Any]:
        upload, options = self.upload, self.upload.options
        about = f"{upload.file_name}: {KINDS[UploadKind(upload.kind)].title.lower()}"
        sentences = [f"Sent by {upload.by} at {upload.at:%Y-%m-%d %H:%M} UTC. Nothing is imported yet."]
        if upload.kind == UploadKind.RATES:
            about = f"{upload.file_name}: rates of the deck “{options['deck']}”"
        if options.get("full_from"):
            sentences.append(f"The file is the whole deck: other prefixes end on {options['full_from']}.")
        return {"subject": about, "sentences": sentences, "back": self._came_from()}

    def _came_from(self) -> str:
        if self.upload.kind == UploadKind.RATES:
            return reverse("admin:work_deck_import") + f"?deck={self.upload.options['deck']}"
        return reverse("admin:work_import")

    def preview(self, form: ActForm) -> Preview:
        _, shown = self._run(dry_run=True)
        return shown

    def _run(self, *, dry_run: bool) -> tuple[ImportResult, Preview]:
        options = self.upload.options
        limits = Limits(limit(options, "percent") or Decimal(20), limit(options, "dearest"))
        changes = PriceChanges(limits)
        was_known = self._is_known_deck()
        result = run(self.upload, at=timezone.now(), dry_run=dry_run, watch=changes.note)
        is_rates = self.upload.kind == UploadKind.RATES
        context = {
            "result": result,
            "errors": result.errors[:ERRORS_SHOWN],
            "errors_left": max(0, len(result.errors) - ERRORS_SHOWN),
            "changes": changes if is_rates and not result.errors else None,
            "limits": limits,
            "deck": options.get("deck"),
        }
        world = [result.as_json(), result.notes, changes.world]
        refusal = self._refusal(result, was_known=was_known)
        return result, Preview(world, context, "admin/staff/work/import_preview.html", refusal)

    def _refusal(self, result: ImportResult, *, was_known: bool) -> str:
        if result.errors:
            count = len(result.errors)
            wrong = "One thing is wrong" if count == 1 else f"{count:,} things are wrong"
            return f"{wrong} with the file, so nothing of it can be imported. Mend it and send it again."
        if self._makes_partners(result) and not self.request.user.has_perm("billing.add_partner"):
            return (
                "The file names partners that do not exist. They would be made, which needs billing.add_partner:"
                " an admin has it. Nothing was changed."
            )
        if not was_known and not self.request.user.has_perm("billing.add_ratedeck"):
            return "The file would make a new deck, which needs billing.add_ratedeck. Nothing was changed."
        if not result.created and not result.updated:
            return "Everything in the file is there already: there is nothing to import."
        return ""

    def _makes_partners(self, result: ImportResult) -> bool:
        return self.upload.kind == UploadKind.CUSTOMERS and any("New partners" in note for note in result.notes)

    def _is_known_deck(self) -> bool:
        is_rates = self.upload.kind == UploadKind.RATES
        return not is_rates or RateDeck.objects.filter(name=self.upload.options["deck"]).exists()

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Import it; and take that back, and show it anew, where something else came of it than was shown.

        Asking first, and then again, would read a large file twice while somebody waits.
        """
        form = self.form(request.POST)
        if not form.is_valid():
            return self._ask(form, self.preview(form))
        try:
            done = self.do(form)
        except DoneAlready as already:
            messages.info(request, str(already))
            return HttpResponseRedirect(self.back())
        except _Moved as moved:
            return self._ask(form, moved.shown, moved=bool(form.cleaned_data["seen"]))
        except Refused as refused:
            form.add_error(None, str(refused))
            return self._ask(form, None)
        messages.success(request, done.sentence)
        return HttpResponseRedirect(done.url)

    def do(self, form: ActForm) -> Done:
        upload, said = self.upload, form.cleaned_data
        with act(
            by=self.by,
            verb="import",
            noun=upload.kind,
            name=upload.options.get("deck") or upload.file_name,
            reason=said.get("reason", ""),
            once=said["once"],
        ) as doing:
            if not Upload.objects.filter(pk=upload.pk).delete()[0]:
                raise Refused("Somebody imported this file a moment ago. Nothing was done twice.")
            result, shown = self._run(dry_run=False)
            if shown.refusal or not shown.is_as_seen(said["seen"]):
                raise _Moved(shown)
            counts = f"{result.created:,} created, {result.updated:,} updated, {result.unchanged:,} unchanged"
            doing.summary = f"{upload.file_name}: {result.read:,} lines read; {counts}."
            doing.after = {
                **{key: value for key, value in result.as_json().items() if key != "errors"},
                "options": upload.options,
                "sha256": hashlib.sha256(bytes(upload.content)).hexdigest(),
            }
        return Done(doing.summary, self._goes_to())

    def back(self) -> str:
        return self._came_from()

    def _goes_to(self) -> str:
        lists: dict[str, str] = {
            UploadKind.PARTNERS: "admin:billing_partner_changelist",
            UploadKind.CUSTOMERS: "admin:billing_customer_changelist",
            UploadKind.ITEMS: "admin:work_items",
            UploadKind.PAYMENTS: "admin:billing_ledgerentry_changelist",
        }
        if self.upload.kind == UploadKind.RATES:
            return reverse("admin:work_deck", args=[self.upload.options["deck"]])
        return reverse(lists[self.upload.kind])
