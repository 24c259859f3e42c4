//! W3C trace context: the ids by which the logs of all functions show what happened to one webhook
//! or message. <https://www.w3.org/TR/trace-context/>
//!
//! A trace is everything that follows from one request. A span is a part of it: a function's work on
//! one request or on one record of a queue. Code gets the context of its span without a parameter,
//! from [`current`].

use std::cell::Cell;
use std::fmt;
use std::future::poll_fn;
use std::num::{NonZeroU64, NonZeroU128};
use std::pin::Pin;
use std::str::FromStr;

use crate::id::hash;

/// Name of the HTTP header and of the SQS message attribute that has the trace context.
pub const TRACEPARENT: &str = "traceparent";

/// Length of a trace context of version 00, in bytes.
const LENGTH: usize = 55;

/// Id of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceId(NonZeroU128);

impl TraceId {
    /// Derives the id from `parts`: the same parts give the same id.
    #[must_use]
    pub fn derived(parts: &[&str]) -> Self {
        Self(NonZeroU128::new(hash(parts)).unwrap_or(NonZeroU128::MIN))
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Id of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpanId(NonZeroU64);

impl SpanId {
    /// Derives the id from `parts`: the same parts give the same id.
    #[must_use]
    pub fn derived(parts: &[&str]) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "half of the hash is enough")]
        let half = hash(parts) as u64;
        Self(NonZeroU64::new(half).unwrap_or(NonZeroU64::MIN))
    }

    /// Reads 16 hexadecimal digits.
    fn read(text: &str) -> Option<Self> {
        let id = u64::try_from(hexadecimal(text, 16)?).ok()?;
        NonZeroU64::new(id).map(Self)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The text is not a trace context.
#[derive(Debug, thiserror::Error)]
#[error("expected a trace context such as 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")]
pub struct InvalidTraceContext;

/// Trace context of a span. Its text is a `traceparent` of version 00.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// Trace that the span belongs to.
    pub trace_id: TraceId,
    /// Id of the span.
    pub span_id: SpanId,
    /// Id of the span that caused it, if it is known.
    pub parent_id: Option<SpanId>,
    /// Whether the trace may have been recorded.
    is_sampled: bool,
}

impl TraceContext {
    /// Returns the first span of a trace. The trace counts as recorded, because the logs have it.
    #[must_use]
    pub const fn new(trace_id: TraceId, span_id: SpanId) -> Self {
        Self { trace_id, span_id, parent_id: None, is_sampled: true }
    }

    /// Returns a span that this one causes.
    #[must_use]
    pub const fn child(self, span_id: SpanId) -> Self {
        Self { span_id, parent_id: Some(self.span_id), ..self }
    }

    /// Returns a span of the trace in an X-Ray tracing header such as
    /// `Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1`; `None` if the
    /// header has no valid trace id.
    /// <https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader>
    #[must_use]
    pub fn of_x_ray(header: &str, span_id: SpanId) -> Option<Self> {
        let field = |name: &str| {
            let mut fields = header.split(';').filter_map(|field| field.trim().split_once('='));
            fields.find(|(key, _)| *key == name).map(|(_, value)| value)
        };
        let (time, random) = field("Root")?.strip_prefix("1-")?.split_once('-')?;
        let id = (hexadecimal(time, 8)? << 96) | hexadecimal(random, 24)?;
        let trace_id = TraceId(NonZeroU128::new(id)?);
        let parent_id = field("Parent").and_then(SpanId::read);
        Some(Self { parent_id, ..Self::new(trace_id, span_id) })
    }

    /// Reads a `traceparent`. Of a later version it reads what version 00 has too, as the
    /// specification says.
    fn read(text: &str) -> Option<Self> {
        let (known, rest) = text.split_at_checked(LENGTH)?;
        let mut fields = known.split('-');
        let version = hexadecimal(fields.next()?, 2)?;
        let trace_id = NonZeroU128::new(hexadecimal(fields.next()?, 32)?)?;
        let span_id = SpanId::read(fields.next()?)?;
        let flags = hexadecimal(fields.next()?, 2)?;
        let is_valid = match version {
            0xff => false,
            0 => rest.is_empty(),
            _ => rest.is_empty() || rest.starts_with('-'),
        };
        let is_sampled = flags & 1 == 1;
        is_valid.then_some(Self { is_sampled, ..Self::new(TraceId(trace_id), span_id) })
    }
}

impl FromStr for TraceContext {
    type Err = InvalidTraceContext;

    fn from_str(text: &str) -> Result<Self, InvalidTraceContext> {
        Self::read(text).ok_or(InvalidTraceContext)
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trace_id, span_id, is_sampled, .. } = self;
        write!(f, "00-{trace_id}-{span_id}-{:02x}", u8::from(*is_sampled))
    }
}

/// Reads a number of `digits` hexadecimal digits, in lower case.
fn hexadecimal(text: &str, digits: usize) -> Option<u128> {
    let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if text.len() != digits || !text.bytes().all(is_digit) {
        return None;
    }
    u128::from_str_radix(text, 16).ok()
}

thread_local! {
    /// Context of the span whose future is being polled.
    static CURRENT: Cell<Option<TraceContext>> = const { Cell::new(None) };
}

/// Returns the context of the current span; `None` outside of [`scope`].
#[must_use]
pub fn current() -> Option<TraceContext> {
    CURRENT.get()
}

/// Runs `future` as the span `context`: while it is polled, [`current`] returns `context`.
///
/// Pin the future first, with [`std::pin::pin`] or in a box: moving it here would copy it.
pub fn scope<F: Future + Unpin>(
    context: TraceContext,
    mut future: F,
) -> impl Future<Output = F::Output> {
    poll_fn(move |task| {
        let _entered = Entered { before: CURRENT.replace(Some(context)) };
        Pin::new(&mut future).poll(task)
    })
}

/// Restores the context on drop, also after a panic.
struct Entered {
    before: Option<TraceContext>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.before);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use proptest::prelude::*;

    use super::*;

    const EXAMPLE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn example() -> TraceContext {
        EXAMPLE.parse().unwrap()
    }

    #[test]
    fn a_trace_context_is_read_and_written() {
        let context = example();
        assert_eq!(context.trace_id.to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(context.span_id.to_string(), "b7ad6b7169203331");
        assert_eq!(context.to_string(), EXAMPLE);
        let unsampled = EXAMPLE.replace("-01", "-00");
        assert_eq!(unsampled.parse::<TraceContext>().unwrap().to_string(), unsampled);
    }

    #[test]
    fn a_trace_context_that_is_not_valid_is_refused() {
        for text in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0x",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01 ",
            " 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319-cb7ad6b7169203331-01",
            "00_0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331_01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.more",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333é-01",
        ] {
            assert!(text.parse::<TraceContext>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        for end in ["", "-", "-what-the-future-brings"] {
            let text = format!("cc{}{end}", &EXAMPLE[2..]);
            assert_eq!(text.parse::<TraceContext>().unwrap(), example(), "{text}");
        }
    }

    #[test]
    fn unknown_flags_are_not_passed_on() {
        let text = EXAMPLE.replace("-01", "-fe");
        assert!(text.parse::<TraceContext>().unwrap().to_string().ends_with("-00"));
    }

    #[test]
    fn a_child_has_the_same_trace_and_knows_its_parent() {
        let span = SpanId::derived(&["a"]);
        let child = example().child(span);
        assert_eq!(child.trace_id, example().trace_id);
        assert_eq!((child.span_id, child.parent_id), (span, Some(example().span_id)));
        assert_ne!(span, SpanId::derived(&["b"]));
    }

    #[test]
    fn an_x_ray_header_gives_its_trace_id_and_its_parent() {
        let span = SpanId::derived(&["a"]);
        let root = "Root=1-5759e988-bd862e3fe1be46a994272793";
        for header in [
            format!("{root};Parent=53995c3f42cd8ad8;Sampled=1"),
            format!("Sampled=0; Parent=53995c3f42cd8ad8; {root};Lineage=1:a87bd80c:0"),
        ] {
            let context = TraceContext::of_x_ray(&header, span).unwrap();
            assert_eq!(context.trace_id.to_string(), "5759e988bd862e3fe1be46a994272793");
            assert_eq!(context.parent_id.unwrap().to_string(), "53995c3f42cd8ad8");
            assert_eq!(context.span_id, span);
        }
        assert_eq!(TraceContext::of_x_ray(root, span).unwrap().parent_id, None);
        for header in [
            "",
            "Root=",
            "Parent=53995c3f42cd8ad8",
            "Root=2-5759e988-bd862e3fe1be46a994272793",
            "Root=1-5759e988-bd862e3fe1be46a99427279",
            "Root=1-5759e988-bd862e3fe1be46a994272793-0",
            "Root=1-00000000-000000000000000000000000",
        ] {
            assert_eq!(TraceContext::of_x_ray(header, span), None, "{header}");
        }
    }

    /// Polls a future once.
    fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn futures_that_are_polled_in_turns_each_see_their_own_context() {
        let (one, two) = (example(), example().child(SpanId::derived(&["two"])));
        let seen = |context| async move {
            let mut turns = 0;
            poll_fn(|_| {
                assert_eq!(current(), Some(context));
                turns += 1;
                if turns < 3 { Poll::Pending } else { Poll::Ready(turns) }
            })
            .await
        };
        let mut first = Box::pin(scope(one, Box::pin(seen(one))));
        let mut second = Box::pin(scope(two, Box::pin(seen(two))));
        for _turn in 0..2 {
            assert_eq!(poll(first.as_mut()), Poll::Pending);
            assert_eq!(current(), None);
            assert_eq!(poll(second.as_mut()), Poll::Pending);
        }
        assert_eq!(poll(first.as_mut()), Poll::Ready(3));
        assert_eq!(poll(second.as_mut()), Poll::Ready(3));
        assert_eq!(current(), None);
    }

    #[test]
    fn an_inner_scope_ends_with_the_context_of_the_outer() {
        let (outer, inner) = (example(), example().child(SpanId::derived(&["inner"])));
        let nested = pin!(async {
            let seen = scope(inner, pin!(async { current() })).await;
            (seen, current())
        });
        let seen = poll(pin!(scope(outer, nested)));
        assert_eq!(seen, Poll::Ready((Some(inner), Some(outer))));
    }

    proptest! {
        #[test]
        fn every_trace_context_is_read_as_it_was_written(
            trace in 1_u128.., span in 1_u64.., is_sampled: bool,
        ) {
            let context = TraceContext {
                trace_id: TraceId(NonZeroU128::new(trace).unwrap()),
                span_id: SpanId(NonZeroU64::new(span).unwrap()),
                parent_id: None,
                is_sampled,
            };
            let text = context.to_string();
            prop_assert_eq!(text.len(), LENGTH);
            prop_assert_eq!(text.parse::<TraceContext>().unwrap(), context);
        }

        #[test]
        fn a_trace_context_is_valid_exactly_if_the_specification_says_so(
            version in "00|ff|[0-9a-f]{2}",
            trace in "0{32}|[0-9a-f]{32}",
            span in "0{16}|[0-9a-f]{16}",
            flags in "[0-9a-f]{2}",
            end in "|-|-x|x",
        ) {
            let is_valid = version != "ff"
                && trace.contains(|c| c != '0')
                && span.contains(|c| c != '0')
                && (end.is_empty() || (version != "00" && end.starts_with('-')));
            let text = format!("{version}-{trace}-{span}-{flags}{end}");
            let read = text.parse::<TraceContext>().ok().map(|context| context.to_string());
            let sampled = u8::from_str_radix(&flags, 16).unwrap() & 1;
            prop_assert_eq!(read, is_valid.then(|| format!("00-{trace}-{span}-0{sampled}")));
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _read = text.parse::<TraceContext>();
            let _read = TraceContext::of_x_ray(&text, SpanId::derived(&["a"]));
        }
    }
}
