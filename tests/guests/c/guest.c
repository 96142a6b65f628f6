// The C guest: does what the event's data asks for in `do`, and reports it in one event.
// Never here: anything that only one language can do; `js/` and `python/` are the same guest.
//
// Nothing is freed here: the instance ends with the call, and its memory with it. What is returned is freed by the
// bindings, so it must come from `malloc` (`guest_string_dup`, never `guest_string_set` of a literal).

#include <stdlib.h>
#include <string.h>

#include "guest.h"

#define ANSWER_BYTES_MAX 512

// Stands in for a JSON parser: tells whether the data holds the JSON string `word`.
static bool says(const exports_pilothouse_plugin_handler_event_t *e, const char *word) {
    if (!e->data.is_some || e->data.val.tag != PILOTHOUSE_PLUGIN_EVENT_PAYLOAD_TEXT) return false;
    guest_string_t text = e->data.val.val.text;
    size_t length = strlen(word);
    for (size_t i = 1; i + length < text.len; i++) {
        if (text.ptr[i - 1] == '"' && text.ptr[i + length] == '"' && memcmp(text.ptr + i, word, length) == 0) return true;
    }
    return false;
}

static char *number(char *end, uint32_t value) {
    char digits[10];
    size_t count = 0;
    do digits[count++] = (char)('0' + value % 10);
    while ((value /= 10) != 0);
    while (count > 0) *end++ = digits[--count];
    return end;
}

// Makes `{"language":"c","<name>":<value>}`. No printf: stdio would import files and a terminal.
static void report(exports_pilothouse_plugin_handler_outcome_t *ret, const char *name, uint32_t value) {
    static char answer[ANSWER_BYTES_MAX] = "{\"language\":\"c\",\"";
    strncat(answer, name, 64);
    strcat(answer, "\":");
    *number(answer + strlen(answer), value) = '\0';
    strcat(answer, "}");

    exports_pilothouse_plugin_handler_event_t *event = calloc(1, sizeof *event); // The host sets id and source.
    guest_string_dup(&event->type, "com.example.result.v1");
    event->datacontenttype.is_some = true;
    guest_string_dup(&event->datacontenttype.val, "application/json");
    event->data.is_some = true;
    event->data.val.tag = PILOTHOUSE_PLUGIN_EVENT_PAYLOAD_TEXT;
    guest_string_dup(&event->data.val.val.text, answer);
    event->extensions.ptr = calloc(1, sizeof *event->extensions.ptr);
    event->extensions.len = 1;
    guest_string_dup(&event->extensions.ptr->f0, "xlanguage");
    event->extensions.ptr->f1.tag = PILOTHOUSE_PLUGIN_EVENT_ATTRIBUTE_VALUE_TEXT;
    guest_string_dup(&event->extensions.ptr->f1.val.text, "c");
    memset(ret, 0, sizeof *ret);
    ret->events.ptr = event;
    ret->events.len = 1;
}

// Posts the event's data to the connection `api`; returns the status, or 0 when there is no answer.
static uint16_t post(guest_string_t content) {
    wasi_http_types_own_outgoing_request_t request =
        wasi_http_types_constructor_outgoing_request(wasi_http_types_constructor_fields());
    wasi_http_types_borrow_outgoing_request_t head = wasi_http_types_borrow_outgoing_request(request);
    wasi_http_types_method_t method = {.tag = WASI_HTTP_TYPES_METHOD_POST};
    wasi_http_types_scheme_t scheme = {.tag = WASI_HTTP_TYPES_SCHEME_HTTPS};
    guest_string_t authority, path;
    guest_string_set(&authority, "api.connection.internal");
    guest_string_set(&path, "/echo");
    wasi_http_types_own_outgoing_body_t body;
    wasi_http_types_own_output_stream_t stream;
    if (!wasi_http_types_method_outgoing_request_set_method(head, &method) ||
        !wasi_http_types_method_outgoing_request_set_scheme(head, &scheme) ||
        !wasi_http_types_method_outgoing_request_set_authority(head, &authority) ||
        !wasi_http_types_method_outgoing_request_set_path_with_query(head, &path) ||
        !wasi_http_types_method_outgoing_request_body(head, &body) ||
        !wasi_http_types_method_outgoing_body_write(wasi_http_types_borrow_outgoing_body(body), &stream))
        return 0;

    wasi_http_outgoing_handler_error_code_t code;
    wasi_http_outgoing_handler_own_future_incoming_response_t pending;
    if (!wasi_http_outgoing_handler_handle(request, NULL, &pending, &code)) return 0;
    wasi_io_streams_stream_error_t broken;
    guest_list_u8_t bytes = {content.ptr, content.len};
    wasi_io_streams_method_output_stream_blocking_write_and_flush(
        wasi_io_streams_borrow_output_stream(stream), &bytes, &broken);
    wasi_io_streams_output_stream_drop_own(stream); // A child goes before its parent, or the host traps.
    wasi_http_types_static_outgoing_body_finish(body, NULL, &code);

    wasi_http_types_borrow_future_incoming_response_t future = wasi_http_types_borrow_future_incoming_response(pending);
    wasi_http_types_own_pollable_t ready = wasi_http_types_method_future_incoming_response_subscribe(future);
    wasi_io_poll_method_pollable_block(wasi_io_poll_borrow_pollable(ready));
    wasi_io_poll_pollable_drop_own(ready);
    wasi_http_types_result_result_own_incoming_response_error_code_void_t answer;
    if (!wasi_http_types_method_future_incoming_response_get(future, &answer)) return 0;
    if (answer.is_err || answer.val.ok.is_err) return 0;
    return wasi_http_types_method_incoming_response_status(
        wasi_http_types_borrow_incoming_response(answer.val.ok.val.ok));
}

bool exports_pilothouse_plugin_handler_handle(exports_pilothouse_plugin_handler_borrow_context_t ctx,
                                              exports_pilothouse_plugin_handler_event_t *e,
                                              exports_pilothouse_plugin_handler_outcome_t *ret,
                                              exports_pilothouse_plugin_handler_failure_t *err) {
    uint32_t attempt = pilothouse_plugin_delivery_method_context_attempt(ctx);
    // Before every return, those with an error too: a borrow that outlives the call is a trap.
    pilothouse_plugin_delivery_context_drop_borrow(ctx);

    guest_string_t group, line;
    guest_string_set(&group, "guest");
    guest_string_set(&line, "one delivery");
    wasi_logging_logging_log(WASI_LOGGING_LOGGING_LEVEL_INFO, &group, &line);

    memset(err, 0, sizeof *err);
    if (says(e, "retry")) {
        err->tag = PILOTHOUSE_PLUGIN_DELIVERY_FAILURE_RETRY;
        guest_string_dup(&err->val.retry.reason, "told to retry");
        err->val.retry.after_ms.is_some = true;
        err->val.retry.after_ms.val = 500;
        return false;
    }
    if (says(e, "reject")) {
        err->tag = PILOTHOUSE_PLUGIN_DELIVERY_FAILURE_REJECT;
        guest_string_dup(&err->val.reject, "told to reject");
        return false;
    }
    if (says(e, "trap")) abort();
    if (!says(e, "call")) {
        report(ret, "attempt", attempt);
        return true;
    }
    uint16_t status = post(e->data.val.val.text);
    if (status == 0) {
        err->tag = PILOTHOUSE_PLUGIN_DELIVERY_FAILURE_RETRY;
        guest_string_dup(&err->val.retry.reason, "no answer");
        return false;
    }
    report(ret, "status", status);
    return true;
}
