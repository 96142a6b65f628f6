// Sends with the official JavaScript SDK in every mode that it has, and as a JSON array for batch, which it has not.
import { createRequire } from "node:module";
const { CloudEvent, HTTP } = createRequire(import.meta.url)("cloudevents");

const make = (id) =>
  new CloudEvent({
    id,
    source: "/javascript",
    type: "com.example.said.v1",
    subject: "Euro 5",
    datacontenttype: "application/json",
    data: { text: "naïve" },
    xnumber: 7,
    xflag: true,
  });

async function send(headers, body) {
  const authorization = `Bearer ${process.env.TOKEN}`;
  const answer = await fetch(process.env.URL, { method: "POST", headers: { ...headers, authorization }, body });
  if (answer.status !== 202) throw new Error(`${answer.status}: ${await answer.text()}`);
}

const structured = HTTP.structured(make("structured"));
await send(structured.headers, structured.body);
const binary = HTTP.binary(make("binary"));
await send(binary.headers, binary.body);
const batch = ["batch-1", "batch-2"].map((id) => HTTP.structured(make(id)).body);
await send({ "content-type": "application/cloudevents-batch+json" }, `[${batch.join(",")}]`);
