//! The `restore-drill` command: restores the hub's data into a second stack, on the local cloud.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{
    error::{Error, Result},
    http::Client,
    hub::{Hub, Start},
    trigger,
};

/// Keeps the ports away from those of other hubs.
const PORT_OFFSET: u16 = 3000;
/// Webhooks of each provider before the restore. At most a page of the API.
const WEBHOOKS: u32 = 20;
/// Time within which an accepted event is recorded.
const RECORDED: Duration = Duration::from_secs(30);

/// Runs the drill on a hub of its own; if `built`, with binaries that are already built.
pub(crate) fn run(built: bool) -> Result<()> {
    let hub = Hub::named("local-restore", PORT_OFFSET, false)?.already_built(built);
    // The items of the table must be decrypted by the second stack.
    let hub = hub.with_parameter("CredentialStore=table");
    if hub.is_running() {
        println!("Stopping the hub of an earlier run.");
        hub.stop()?;
    }
    let running = hub.start(Start { detach: false, fresh: true })?;
    let drilled = drill(&hub);
    if let Some(running) = running {
        running.stop()?;
    }
    drilled
}

fn drill(hub: &Hub) -> Result<()> {
    trigger::send(hub, "whatsapp", "text", WEBHOOKS)?;
    trigger::send(hub, "stripe", "invoice_paid", WEBHOOKS)?;
    wait_for_events(hub, WEBHOOKS)?;
    println!("\nRestoring into a second stack:");
    let begun = Instant::now();
    println!("{}", hub.restore()?);
    // The second stack has the integration, its credentials and the events of the first.
    trigger::send(hub, "stripe", "invoice_paid", 1)?;
    let recovered = begun.elapsed();
    wait_for_events(hub, WEBHOOKS + 1)?;
    println!(
        "\nLost: no item and no object (recovery point). A webhook was accepted {:.1} s after the \
         restore had begun (recovery time).",
        recovered.as_secs_f32()
    );
    Ok(())
}

/// Waits until the demo tenant has `count` events.
fn wait_for_events(hub: &Hub, count: u32) -> Result<()> {
    let client = Client::new(hub.url(), Some(hub.admin_key()?));
    let begun = Instant::now();
    loop {
        let page = client.get("/events?tenant=demo&provider=stripe&limit=100")?;
        let found = page.pointer("/events").and_then(serde_json::Value::as_array).map(Vec::len);
        if found.and_then(|found| u32::try_from(found).ok()) == Some(count) {
            return Ok(());
        }
        if begun.elapsed() > RECORDED {
            let detail = format!("expected {count} events of the tenant demo, found {found:?}");
            return Err(Error::step("restore drill", detail));
        }
        sleep(Duration::from_millis(200));
    }
}
