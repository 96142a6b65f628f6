"""Sends with the official Python SDK in every mode that it has, and as a JSON array for batch, which it has not."""

import os
import urllib.request

from cloudevents.core.bindings.http import to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent


def make(event_id):
    attributes = {
        "id": event_id,
        "source": "/python",
        "type": "com.example.said.v1",
        "specversion": "1.0",
        "subject": "Euro €",
        "datacontenttype": "application/json",
        "xtext": "100 %",
    }
    return CloudEvent(attributes=attributes, data={"text": "naïve"})


def send(headers, body):
    headers = {**headers, "authorization": f"Bearer {os.environ['TOKEN']}"}
    request = urllib.request.Request(os.environ["URL"], data=body, headers=headers, method="POST")
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 202, answer.status


def as_bytes(body):
    return body if isinstance(body, bytes) else body.encode()


structured = to_structured(make("structured"), JSONFormat())
send(structured.headers, as_bytes(structured.body))
binary = to_binary(make("binary"), JSONFormat())
send(binary.headers, as_bytes(binary.body))
batch = [as_bytes(to_structured(make(name), JSONFormat()).body) for name in ("batch-1", "batch-2")]
send({"content-type": "application/cloudevents-batch+json"}, b"[" + b",".join(batch) + b"]")
