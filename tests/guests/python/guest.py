"""The Python guest: does what the event's data asks for in `do`, and reports it in one event.

Never here: anything that only one language can do; `js/` and `c/` are the same guest.
"""

import json

from componentize_py_types import Err, Ok
from wit_world.exports import PilothousePluginHandler010, pilothouse_plugin_handler_0_1_0 as handler
from wit_world.imports import (
    pilothouse_plugin_delivery_0_1_0 as delivery,
    pilothouse_plugin_event_0_1_0 as events,
    wasi_config_store_0_2_0_rc_1 as config,
    wasi_http_outgoing_handler_0_2_12 as http,
    wasi_http_types_0_2_12 as http_types,
    wasi_io_streams_0_2_12 as streams,
    wasi_logging_logging_0_1_0_draft as logging,
)


class PilothousePluginHandler010(PilothousePluginHandler010):
    # The context is a borrowed handle; `with ctx:` would drop it twice, which is a trap.
    def handle(self, ctx, e):
        logging.log(logging.Level.INFO, "guest", f"attempt {ctx.attempt()} at {e.id}")
        data = json.loads(e.data.value) if e.data else {}
        match data.get("do"):
            case "call":
                status, body = post("api.connection.internal", "/echo", data)
                return report(status=status, body=body)
            case "retry":
                raise Err(delivery.Failure_Retry(delivery.RetryLater("told to retry", 500)))
            case "reject":
                raise Err(delivery.Failure_Reject("told to reject"))
            case "trap":
                raise RuntimeError("told to trap")
            case _:
                return report(attempt=ctx.attempt(), settings=config.get("settings"), echo=data)


def report(**answer):
    # The host sets id and source.
    event = events.Event(
        id="",
        source="",
        type="com.example.result.v1",
        subject=None,
        time=None,
        datacontenttype="application/json",
        dataschema=None,
        extensions=[("xlanguage", events.AttributeValue_Text("python"))],
        data=events.Payload_Text(json.dumps({"language": "python", **answer})),
    )
    return handler.Outcome(events=[event], answer=None)


def post(authority, path, data):
    """Posts JSON and returns the status and the body's text; a request that fails is worth another attempt."""
    content = json.dumps(data).encode()
    headers = [("content-type", b"application/json"), ("content-length", str(len(content)).encode())]
    request = http_types.OutgoingRequest(http_types.Fields.from_list(headers))
    request.set_method(http_types.Method_Post())
    request.set_scheme(http_types.Scheme_Https())
    request.set_authority(authority)
    request.set_path_with_query(path)
    try:
        body = request.body()
        pending = http.handle(request, None)
        # A child handle is dropped before its parent: hence `with`.
        with body.write() as stream:
            stream.blocking_write_and_flush(content)
        http_types.OutgoingBody.finish(body, None)
        with pending.subscribe() as pollable:
            pollable.block()
        match pending.get():
            case Ok(Ok(response)):
                return response.status(), read(response)
            case Ok(Err(error)):
                raise Err(error)
    except Err as error:
        raise Err(delivery.Failure_Retry(delivery.RetryLater(type(error.value).__name__, None)))


def read(response):
    chunks = []
    with response.consume() as body, body.stream() as stream:
        while True:
            try:
                chunks.append(stream.blocking_read(64 * 1024))
            except Err as error:
                if isinstance(error.value, streams.StreamError_Closed):
                    return b"".join(chunks).decode()
                raise
