"""Traces of requests, cycles and their queries, sent to an OpenTelemetry collector (OTLP over HTTP)."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.django import DjangoInstrumentor
from opentelemetry.instrumentation.psycopg import PsycopgInstrumentor
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Decision, ParentBased, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, Status, TraceState
from opentelemetry.util.types import Attributes

from billing.about import facts
from ivy.logs import scrubbed

SEND_SECONDS = 2
SCHEDULE_SECONDS = 2
DOORS = "health/live,health/ready,metrics"
# Attributes that are about the client, or repeat what it typed into a form.
ABOUT_PEOPLE = frozenset(
    {
        "client.address",
        "http.client_ip",
        "http.user_agent",
        "net.peer.ip",
        "network.peer.address",
        "url.query",
        "user_agent.original",
    }
)
WITH_QUERY = frozenset({"http.target", "http.url", "url.full"})


def start(endpoint: str) -> None:
    """Trace Django's requests and psycopg's queries, and send them to `endpoint`/v1/traces. To be called once."""
    exporter = OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces", timeout=SEND_SECONDS)
    provider = TracerProvider(
        resource=Resource({SERVICE_NAME: "ivy"}).merge(Resource.create()),
        sampler=ParentBased(root=_NoLonelyQueries()),
        shutdown_on_exit=False,  # it would wait for a dead collector; what was not sent within seconds is lost
    )
    provider.add_span_processor(
        BatchSpanProcessor(WithoutPeople(exporter), schedule_delay_millis=SCHEDULE_SECONDS * 1000)
    )
    trace.set_tracer_provider(provider)
    DjangoInstrumentor().instrument(excluded_urls=DOORS)
    PsycopgInstrumentor().instrument()  # statements without their values


def span(name: str) -> AbstractContextManager[Any]:
    """A piece of work, with what it is about."""
    known = {f"ivy.{fact}": str(value) for fact, value in facts().items()}
    return trace.get_tracer("ivy").start_as_current_span(name, attributes=known)


class _NoLonelyQueries(Sampler):
    """Leave out queries that belong to no request and no cycle: the queue looks for tasks every second."""

    def should_sample(  # noqa: PLR0917 - the library's
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        if kind == SpanKind.CLIENT:
            return SamplingResult(Decision.DROP)
        return ALWAYS_ON.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        return "queries with a parent only"


class WithoutPeople(SpanExporter):
    """Hands on every span without what may name somebody: clients, queries of addresses, words of errors."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send them; what can't be sent is dropped."""
        return self._exporter.export([_without_people(span) for span in spans])

    def shutdown(self) -> None:
        """Send nothing more."""
        self._exporter.shutdown()


def _without_people(span: ReadableSpan) -> ReadableSpan:
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=_attributes(span.attributes),
        events=[Event(event.name, _attributes(event.attributes), event.timestamp) for event in span.events],
        links=span.links,
        kind=span.kind,
        status=Status(span.status.status_code, scrubbed(span.status.description or "") or None),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _attributes(attributes: Attributes) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, value in (attributes or {}).items():
        if name in ABOUT_PEOPLE:
            continue
        text = value.partition("?")[0] if name in WITH_QUERY and isinstance(value, str) else value
        kept[name] = scrubbed(text) if isinstance(text, str) else text
    return kept
