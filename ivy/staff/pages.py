"""What the pages of the control room share: who may open them, and how something is asked, shown before, and done once.

A page is an address, a permission and a verb. Looking never changes anything; what changes something is sent by POST,
with the reason where one is due, and can be sent twice without harm.
"""

import hashlib
import json
import uuid
from dataclasses import dataclass, field
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import never_cache
from unfold.widgets import UnfoldAdminTextareaWidget

from ivy.staff.acts import DoneAlready, Refused, refuse_twice


@method_decorator(never_cache, name="dispatch")
class StaffPage(View):
    """A page for members of staff that have a permission; others read what they lack and whom to ask."""

    permission: ClassVar[str] = ""
    """`app.codename`; empty: every member of staff may."""
    title: ClassVar[str] = ""
    template_name: ClassVar[str]

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if self.permission and not request.user.has_perm(self.permission):
            raise PermissionDenied(
                f"“{self.title}” needs the permission {self.permission}, which your roles do not give you."
                " Nothing was changed. An admin can give you a role that has it."
            )
        return super().dispatch(request, *args, **kwargs)

    def page(self, **context: Any) -> HttpResponse:
        """The page's template within the admin's frame."""
        frame = {**admin.site.each_context(self.request), "title": self.title}
        return TemplateResponse(self.request, self.template_name, {**frame, **context})

    @property
    def by(self) -> str:
        """Who is at it, as histories name people."""
        return self.request.user.get_username()


class LivePart(StaffPage):
    """A part of a page that is asked for again and again. It carries when it was read; unchanged, it is not sent again.

    `static/ivy/control.js` sends back the version that the page shows, asks nothing while nobody looks, and says so
    when an answer fails to come.
    """

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        text = self.text()
        version = hashlib.sha256(text.encode()).hexdigest()[:16]
        answer = HttpResponse(status=204) if request.GET.get("shown") == version else HttpResponse(text)
        answer["X-Version"] = version
        answer["X-As-Of"] = f"{timezone.now():%H:%M:%S} UTC"
        return answer

    def text(self) -> str:
        """The part, as HTML."""
        return render_to_string(self.template_name, self.context(), self.request)

    def context(self) -> dict[str, Any]:
        """What the template tells."""
        raise NotImplementedError


class ActForm(forms.Form):
    """What is asked before something is done. Subclasses add fields of their own before the reason."""

    reason = forms.CharField(
        label="Reason",
        max_length=1000,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        help_text="Kept in the history under your name.",
    )
    once = forms.UUIDField(widget=forms.HiddenInput)
    seen = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["once"].initial = uuid.uuid4
        self.order_fields([name for name in self.fields if name != "reason"] + ["reason"])


class NoReasonForm(ActForm):
    """For what needs no reason."""

    reason = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Preview:
    """What would follow. `world` is whatever must be the same when it is done; `context` is for the template."""

    world: Any
    context: dict[str, Any] = field(default_factory=dict)
    template_name: str = ""
    refusal: str = ""
    """Why it can't be done at all; then only the preview is shown."""

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(json.dumps(self.world, default=str, sort_keys=True).encode()).hexdigest()[:32]

    def is_as_seen(self, seen: str) -> bool:
        """Whether the world is as it was in a preview with that fingerprint."""
        return seen == self.fingerprint


@dataclass(frozen=True)
class Done:
    """What came of it, in a sentence, and where to go from here."""

    sentence: str
    url: str
    level: int = messages.SUCCESS


class ActPage(StaffPage):
    """Asks, shows what would follow where that matters, and does it once.

    The first click opens the page, the second does it. With a preview there is a click between: "show what would
    follow". When the world has moved since it was shown, it is shown again instead of done.
    """

    template_name = "admin/staff/act.html"
    form_class: ClassVar[type[ActForm]] = ActForm
    button: ClassVar[str] = "Do it"
    is_dangerous: ClassVar[bool] = False
    has_preview: ClassVar[bool] = False
    previews_at_once: ClassVar[bool] = False
    """Whether the preview needs nothing from the form and is shown when the page is opened."""

    def about(self) -> dict[str, Any]:
        """For the template, what this is about: `subject` (one line), `sentences`, `back` (an address)."""
        return {}

    def form(self, sent: Any = None) -> ActForm:
        return self.form_class(sent, initial=dict(self.request.GET.items()))

    def preview(self, form: ActForm) -> Preview:
        """What would follow. The form is valid, unless the page previews at once. Writes nothing."""
        raise NotImplementedError

    def do(self, form: ActForm) -> Done:
        """Do it. Raises Refused (told in the form), DoneAlready (told, and no harm done)."""
        raise NotImplementedError

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        form = self.form()
        shown = self.preview(form) if self.previews_at_once else None
        return self._ask(form, shown)

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            # Before anything else looks at the form, which would only tell that the world has moved.
            refuse_twice(uuid.UUID(request.POST.get("once", "")))
        except DoneAlready as already:
            messages.info(request, str(already))
            return HttpResponseRedirect(self.back())
        except ValueError:
            pass  # the form says so
        form = self.form(request.POST)
        if not form.is_valid():
            return self._ask(form, self.preview(form) if self.previews_at_once else None)
        try:
            if self.has_preview or self.previews_at_once:
                shown = self.preview(form)
                if shown.refusal or not shown.is_as_seen(form.cleaned_data["seen"]):
                    refuse_twice(form.cleaned_data["once"])  # it may have been done while the preview was made
                    moved = bool(form.cleaned_data["seen"])
                    return self._ask(form, shown, moved=moved)
            done = self.do(form)
        except Refused as refused:
            form.add_error(None, str(refused))
            return self._ask(form, None)
        except DoneAlready as already:
            messages.info(request, str(already))
            return HttpResponseRedirect(self.back())
        messages.add_message(request, done.level, done.sentence)
        return HttpResponseRedirect(done.url)

    def back(self) -> str:
        """Where "Cancel" leads, and where somebody lands who sent a form twice."""
        return self.about().get("back") or reverse("admin:index")

    def _ask(self, form: ActForm, shown: Preview | None, *, moved: bool = False) -> HttpResponse:
        if form.is_bound and shown is not None:
            form.data = form.data.copy()  # type: ignore[attr-defined]
            form.data["seen"] = shown.fingerprint  # type: ignore[index]
        elif shown is not None:
            form.initial["seen"] = shown.fingerprint
        needs_preview = self.has_preview and shown is None
        return self.page(
            **{"back": reverse("admin:index"), **self.about()},
            form=form,
            preview=shown,
            has_moved=moved,
            button="Show what would follow" if needs_preview else self.button,
            is_dangerous=self.is_dangerous and not needs_preview,
            was_lost=LOST in self.request.GET and not form.is_bound,
        )


LOST = "session-ended"
"""In the address to which somebody comes back whose session had ended when they sent a form."""


def staff_path(route: str, page: type[StaffPage], name: str) -> URLPattern:
    """The address of a page of the control room, below /admin/, for members of staff alone.

    Others are asked to log in, and come back. Whoever had sent something then is told that it was not done.
    """
    view = admin.site.admin_view(page.as_view())

    def for_staff(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not admin.site.has_permission(request):
            if request.headers.get("HX-Request"):
                return HttpResponse("You are logged out.", status=401, content_type="text/plain")
            if request.method == "POST":
                query = request.GET.copy()
                query[LOST] = "1"
                return redirect_to_login(f"{request.path}?{query.urlencode()}", reverse("admin:login"))
        return view(request, *args, **kwargs)

    return path(route, for_staff, name=name)
