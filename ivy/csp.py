"""What pages may load. The policy of `settings` holds everywhere; here are the two places that need more, and why."""

from csp.constants import SELF, UNSAFE_EVAL, UNSAFE_INLINE
from csp.middleware import CSPMiddleware, PolicyParts
from django.http import HttpRequest, HttpResponseBase

# Unfold's pages run Alpine, which evaluates its attributes, and carry inline scripts and styles. Nothing is fetched
# from elsewhere all the same.
ADMIN = {
    "script-src": [SELF, UNSAFE_INLINE, UNSAFE_EVAL],
    "style-src": [SELF, UNSAFE_INLINE],
    "img-src": [SELF, "data:"],
}
# The QR code for an authenticator app is an image inside the page, so that the secret in it has no address.
QR_CODE = {"img-src": [SELF, "data:"]}


class ContentSecurityPolicyMiddleware(CSPMiddleware):
    """Sends the strict policy, except with answers of the admin's own views and with the QR code."""

    def get_policy_parts(
        self, request: HttpRequest, response: HttpResponseBase, report_only: bool = False
    ) -> PolicyParts:
        parts = super().get_policy_parts(request, response, report_only)
        match = request.resolver_match
        if match is None:
            return parts
        if match.app_name == "admin":
            parts.replace = {**ADMIN, **(parts.replace or {})}
        elif match.view_name == "mfa_activate_totp":
            parts.replace = {**QR_CODE, **(parts.replace or {})}
        return parts
