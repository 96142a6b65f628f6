// The JavaScript guest: does what the event's data asks for in `do`, and reports it in one event.
// Never here: anything that only one language can do; `python/` and `c/` are the same guest.

import { get } from "wasi:config/store@0.2.0-rc.1";
import { log } from "wasi:logging/logging@0.1.0-draft";

const report = (answer) => ({
  events: [
    {
      id: "", // The host sets id and source.
      source: "",
      type: "com.example.result.v1",
      datacontenttype: "application/json",
      extensions: [["xlanguage", { tag: "text", val: "js" }]],
      data: { tag: "text", val: JSON.stringify({ language: "js", ...answer }) },
    },
  ],
});

export const handler = {
  async handle(ctx, event) {
    log("info", "guest", `attempt ${ctx.attempt()} at ${event.id}`);
    const data = event.data?.tag === "text" ? JSON.parse(event.data.val) : {};
    switch (data.do) {
      case "call": {
        const response = await fetch("https://api.connection.internal/echo", {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: JSON.stringify(data),
        });
        return report({ status: response.status, body: await response.text() });
      }
      case "retry":
        // What is thrown must be the variant itself: a plain Error is a trap.
        throw { tag: "retry", val: { reason: "told to retry", afterMs: 500n } };
      case "reject":
        throw { tag: "reject", val: "told to reject" };
      case "trap":
        throw new Error("told to trap");
      default:
        return report({ attempt: ctx.attempt(), settings: get("settings"), echo: data });
    }
  },
};
