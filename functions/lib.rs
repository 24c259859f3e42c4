//! What the functions share: the OpenAPI document of the whole API.

use runtime::api::openapi::{document, resource};
use serde_json::Value;

/// Returns the OpenAPI 3.1 document: one entry for each resource.
#[must_use]
pub fn openapi() -> Value {
    document(&[
        &resource("tenants", accounts::api::tenants::ROUTES),
        &resource("integrations", accounts::api::integrations::ROUTES),
        &resource("audit", accounts::api::audit::ROUTES),
        &resource("messages", messaging::api::messages::ROUTES),
        &resource("conversations", messaging::api::conversations::ROUTES),
        &resource("events", events::api::ROUTES),
        &resource("voice", voice::api::ROUTES),
        &resource("webhook", work::api::inbound::ROUTES),
        &resource("queue", work::api::queue::ROUTES),
        &resource("dead-letters", operations::api::ROUTES),
        &resource("status", work::api::status::ROUTES),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_in_the_document_resolves() {
        let document = openapi();
        let text = document.to_string();
        for part in text.split("\"$ref\":\"").skip(1) {
            let reference = part.split('"').next().unwrap();
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }

    #[test]
    fn operation_ids_are_unique() {
        let document = openapi();
        let mut ids: Vec<&str> = document["paths"]
            .as_object()
            .unwrap()
            .values()
            .flat_map(|methods| methods.as_object().unwrap().values())
            .map(|operation| operation["operationId"].as_str().unwrap())
            .collect();
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all);
    }
}
