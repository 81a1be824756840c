"""The door of every page of the portal: who comes in, as whom, and in which language and zone they read."""

from collections.abc import Callable
from functools import wraps
from typing import Any, cast

from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import render
from django.template.response import SimpleTemplateResponse
from django.urls import reverse
from django.utils.cache import add_never_cache_headers
from django.utils.http import parse_header_parameters

from ivy.accounts.models import User
from ivy.portal import looking, words
from ivy.portal import scope as scopes
from ivy.portal.looking import SESSION_KEY
from ivy.portal.models import Role
from ivy.portal.scope import Scope

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")

View = Callable[..., HttpResponseBase]


class PortalRequest(HttpRequest):
    """A request that came through `portal_page`: it knows whose rows it may see."""

    scope: Scope
    user: User


def portal_page(*, role: Role = Role.VIEWER) -> Callable[[View], View]:
    """For every view of the portal: a stranger is led to the log-in, who is no partner's user finds nothing (404); an
    open page of theirs that polls is loaded anew by the browser, so that it ends there, too.

    Whose role is too low gets 403, and so do staff that look when they send anything. Sets `request.scope`, and the
    reader's language and zone for all that is written within the view, a template response included. What it answers
    is not kept by browsers, unless the view itself said so.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        def door(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if not request.user.is_authenticated:
                return _load_anew() if request.headers.get("HX-Request") else _to_log_in(request)
            if SESSION_KEY in request.session:
                look = looking.standing(request.session[SESSION_KEY], by=request.user)
                if look is None:
                    return _load_anew() if request.headers.get("HX-Request") else _end_look(request)
                scope: Scope | None = scopes.of_look(look)
            else:
                scope = scopes.of_user(request.user)
            if scope is None:
                if request.headers.get("HX-Request"):
                    return _load_anew()
                raise Http404(scopes.NOT_THERE)
            known = cast(PortalRequest, request)
            known.scope = scope
            with words.written_for(scope.language, scope.timezone):
                answer = view(known, *args, **kwargs) if _may_enter(known, role) else _refuse(known, role)
                if isinstance(answer, SimpleTemplateResponse):
                    answer.render()
            _note_file(scope, answer)
            if not answer.has_header("Cache-Control"):
                add_never_cache_headers(answer)
            return answer

        door.portal_role = role  # type: ignore[attr-defined]
        return door

    return decorate


def _note_file(scope: Scope, answer: HttpResponseBase) -> None:
    """Of staff that look: that they take an answer with them which is a file to keep, and no page."""
    kind, told = parse_header_parameters(answer.headers.get("Content-Disposition", ""))
    if scope.look is not None and kind == "attachment":
        looking.note_file(scope.look, told.get("filename", "a file"))


def _may_enter(request: PortalRequest, role: Role) -> bool:
    scope = request.scope
    return scope.sees(role) and (request.method in SAFE_METHODS or not scope.is_staff_looking)


def _refuse(request: PortalRequest, role: Role) -> HttpResponse:
    return render(request, "portal/not_allowed.html", {"needed": role}, status=403)


def _load_anew() -> HttpResponse:
    """For polls: they would put another page into the middle of theirs, which tells nothing new from here on. The
    browser asks for the whole page again, and is led on.
    """
    return HttpResponse(status=401, headers={"HX-Refresh": "true"})


def _end_look(request: HttpRequest) -> HttpResponse:
    """Their hour is over, or they may look no more: back to where they came from."""
    del request.session[SESSION_KEY]
    messages.info(request, "You do not look at a partner's portal any more.")
    return HttpResponseRedirect(reverse("admin:index"))


def _to_log_in(request: HttpRequest) -> HttpResponse:
    return redirect_to_login(request.get_full_path() if request.method in SAFE_METHODS else "/portal/")
