//! Notifications to the tenant's webhook endpoint.

use accounts::model::automation::Automation;
use domain::notification::{Notification, NotificationData, NotificationKind};
use domain::ports::{PortResult, Publisher, Record};
use domain::task::{NotificationTask, VERSION};

/// Queues a notification, if the tenant has a webhook endpoint.
///
/// # Errors
/// If the queue fails.
pub async fn notify<P: Publisher>(
    queue: &P,
    automation: &Automation,
    kind: NotificationKind,
    data: NotificationData,
) -> PortResult<()> {
    if automation.enabled_webhook().is_none() {
        return Ok(());
    }
    let id = data.notification_id(kind);
    let timestamp = data.message.history.last().map_or(data.message.created_at, |step| step.at);
    let tenant = data.tenant.clone();
    let group = tenant.to_string();
    let notification = Some(Box::new(Notification { kind, timestamp, data }));
    let task = NotificationTask { v: VERSION, id, tenant, notification };
    let body = serde_json::to_string(&task).map_err(|_| runtime::unwritable())?;
    let deduplication_id = id.to_string();
    queue.publish(vec![Record { body, group, deduplication_id, ..Record::default() }]).await
}
