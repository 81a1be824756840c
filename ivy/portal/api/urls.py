"""Where the API is: its addresses, its description, and a page to read and try it on, served from here."""

from django.urls import URLPattern, re_path

from ivy.portal.api.routes import api, in_one_form, nowhere

_patterns, _app, _namespace = api.urls
for _pattern in _patterns:
    assert isinstance(_pattern, URLPattern)
    _pattern.callback = nowhere if _pattern.name == "api-root" else in_one_form(_pattern.callback)

addresses = ([*_patterns, re_path("", nowhere, name="nowhere")], _app, _namespace)
