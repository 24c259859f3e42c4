//! Spans of the functions: one for each request, record and invocation.

use aws_lambda_events::sqs::SqsMessage;
use domain::TraceContext;
use domain::trace::{SpanId, TRACEPARENT, TraceId};
use lambda_http::request::RequestContext;
use lambda_http::{Request, RequestExt};
use lambda_runtime::Context;

/// Returns the context of an invocation: that of X-Ray, so that X-Ray and the logs have one trace
/// id. Lambda sends a header of X-Ray also where tracing is off.
pub(crate) fn of_invocation(context: &Context) -> TraceContext {
    let (request_id, x_ray) = (&context.request_id, context.xray_trace_id.as_deref());
    let span_id = SpanId::derived(&["invocation", request_id]);
    let traced = x_ray.and_then(|header| TraceContext::of_x_ray(header, span_id));
    traced.unwrap_or_else(|| {
        TraceContext::new(TraceId::derived(&["invocation", request_id]), span_id)
    })
}

/// Returns the context of a request. `is_trusted` is whether the client may choose the trace with a
/// `traceparent` header.
pub(crate) fn of_request(request: &Request, is_trusted: bool) -> TraceContext {
    let context = match (request.lambda_context_ref(), request.request_context_ref()) {
        (Some(context), _) => of_invocation(context),
        // A request that did not come through Lambda, in a test.
        (None, Some(RequestContext::ApiGatewayV2(gateway))) => {
            let mut context = Context::default();
            context.request_id = gateway.request_id.clone().unwrap_or_default();
            of_invocation(&context)
        }
        (None, _) => of_invocation(&Context::default()),
    };
    let chosen = request.headers().get(TRACEPARENT).filter(|_| is_trusted);
    let chosen = chosen.and_then(|header| header.to_str().ok()?.parse::<TraceContext>().ok());
    chosen.map_or(context, |chosen| chosen.child(context.span_id))
}

/// Returns the context of a record that was received `receives` times: a span of the trace of the
/// function that published it. Without a valid attribute, the record starts a trace, which
/// is the same for each receive.
pub(crate) fn of_record(message: &SqsMessage, receives: u32) -> TraceContext {
    let id = message.message_id.as_deref().unwrap_or_default();
    let attribute = message.message_attributes.get(TRACEPARENT);
    let text = attribute.and_then(|attribute| attribute.string_value.as_deref());
    let text = text.unwrap_or_default();
    let span_id = SpanId::derived(&["record", id, &receives.to_string(), text]);
    match text.parse::<TraceContext>() {
        Ok(publisher) => publisher.child(span_id),
        Err(_) => TraceContext::new(TraceId::derived(&["record", id]), span_id),
    }
}

#[cfg(test)]
mod tests {
    use lambda_http::Body;

    use super::*;

    const GIVEN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn invocation(request_id: &str, x_ray: Option<&str>) -> Context {
        let mut context = Context::default();
        context.request_id = request_id.to_owned();
        context.xray_trace_id = x_ray.map(ToOwned::to_owned);
        context
    }

    fn request(context: Context, traceparent: &str) -> Request {
        let request = http::Request::builder().header(TRACEPARENT, traceparent);
        request.body(Body::Empty).unwrap().with_lambda_context(context)
    }

    #[test]
    fn an_invocation_has_the_trace_id_of_x_ray() {
        let header = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0";
        let context = of_invocation(&invocation("1", Some(header)));
        assert_eq!(context.trace_id.to_string(), "5759e988bd862e3fe1be46a994272793");
        assert_eq!(context.parent_id.unwrap().to_string(), "53995c3f42cd8ad8");
    }

    #[test]
    fn an_invocation_without_x_ray_has_a_trace_of_its_own() {
        let (one, two) = (invocation("1", None), invocation("2", Some("Root=nonsense")));
        assert_ne!(of_invocation(&one).trace_id, of_invocation(&two).trace_id);
        assert_eq!(of_invocation(&one), of_invocation(&one));
    }

    #[test]
    fn only_a_trusted_client_chooses_the_trace() {
        let of =
            |is_trusted, header| of_request(&request(invocation("1", None), header), is_trusted);
        let given: TraceContext = GIVEN.parse().unwrap();
        let own = of_invocation(&invocation("1", None));
        assert_eq!(of(true, GIVEN), given.child(own.span_id));
        assert_eq!(of(false, GIVEN), own);
        assert_eq!(of(true, "nonsense"), own);
    }

    #[test]
    fn a_record_continues_the_trace_of_its_publisher_in_a_span_of_its_own() {
        let record = |text: &str| {
            let attribute = serde_json::json!({ "dataType": "String", "stringValue": text });
            let record = serde_json::json!({
                "messageId": "1", "messageAttributes": { "traceparent": attribute },
            });
            serde_json::from_value::<SqsMessage>(record).unwrap()
        };
        let given: TraceContext = GIVEN.parse().unwrap();
        let (first, second) = (of_record(&record(GIVEN), 1), of_record(&record(GIVEN), 2));
        for context in [first, second] {
            assert_eq!(context.trace_id, given.trace_id);
            assert_eq!(context.parent_id, Some(given.span_id));
        }
        assert_ne!(first.span_id, second.span_id, "each receive is a span");
        let (first, second) = (of_record(&record("malformed"), 1), of_record(&record(""), 2));
        assert_eq!(first.trace_id, second.trace_id, "each receive is in the same trace");
        assert_ne!(first.trace_id, given.trace_id);
    }
}
