//! Archive of raw events.

use domain::event::InboundEvent;
use domain::ports::Archive;

use crate::batch::Failure;

/// Archives the raw events of a batch: one object per tenant and provider.
///
/// # Errors
/// If an object cannot be stored.
pub async fn keep<A: Archive>(archive: &A, events: &[&InboundEvent]) -> Result<(), Failure> {
    let mut remaining: Vec<&InboundEvent> = events.to_vec();
    let mut objects = Vec::new();
    while let Some(first) = remaining.first().copied() {
        let in_object = |event: &&InboundEvent| {
            event.tenant == first.tenant && event.provider == first.provider
        };
        let lines =
            remaining.iter().filter(|event| in_object(event)).map(|event| archive_line(event));
        let lines = lines.collect::<Result<Vec<String>, Failure>>()?;
        objects.push(async move {
            archive.put_events(&first.tenant, first.provider, first.received_at, &lines).await
        });
        remaining.retain(|event| !in_object(event));
    }
    futures::future::try_join_all(objects).await?;
    Ok(())
}

/// Returns an event as one line of JSON, complete, so that it can be replayed. Line breaks occur
/// only between the tokens of the raw event, never inside its strings.
fn archive_line(event: &InboundEvent) -> Result<String, Failure> {
    let line = serde_json::to_string(event)
        .map_err(|_| Failure::retry("the event cannot be written as JSON"))?;
    Ok(if line.contains(['\n', '\r']) { line.replace(['\n', '\r'], " ") } else { line })
}
