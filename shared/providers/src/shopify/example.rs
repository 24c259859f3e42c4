//! Example webhooks in the shape Shopify documents, signed with a test secret. For tests, event
//! files and tools.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::Credentials;
use http::{HeaderMap, HeaderValue};
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};

use crate::example::{Draft, Example, Examples, Seed};
use crate::signature;

/// The example webhooks of Shopify.
pub static EXAMPLES: Examples = Examples {
    answers: None,
    events: &[
        Example {
            webhook: "shopify",
            name: "order_created",
            what: "An order is created",
            draft: order_created,
        },
        Example {
            webhook: "shopify",
            name: "order_refunded",
            what: "An order is refunded",
            draft: order_refunded,
        },
        Example {
            webhook: "shopify",
            name: "product_updated",
            what: "A product changes",
            draft: product_updated,
        },
        Example {
            webhook: "shopify",
            name: "product_event",
            what: "A product changes, in the newer event format",
            draft: product_event,
        },
        Example {
            webhook: "shopify",
            name: "app_uninstalled",
            what: "A shop uninstalls the app",
            draft: app_uninstalled,
        },
        Example {
            webhook: "shopify",
            name: "customer_data_request",
            what: "A customer requests their data",
            draft: customer_data_request,
        },
        Example {
            webhook: "shopify",
            name: "customer_redact",
            what: "A customer's data must be deleted",
            draft: customer_redact,
        },
        Example {
            webhook: "shopify",
            name: "shop_redact",
            what: "A shop's data must be deleted",
            draft: shop_redact,
        },
    ],
    unsigned_bodies: &[],
    credentials,
    settings: || Map::from_iter([("account".to_owned(), SHOP.into())]),
    sign: |_, draft, credentials, url, _| {
        let body = draft.body.bytes();
        let secret = credentials.first(super::API_SECRET);
        let secret = secret.map_or("", |secret| secret.expose_secret());
        let tag = signature::hmac_sha256(secret.as_bytes(), &[&body]);
        let mut headers = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_str(&STANDARD.encode(tag)) {
            let newer = draft.headers.contains_key("shopify-topic");
            let name = if newer { "shopify-hmac-sha256" } else { "x-shopify-hmac-sha256" };
            headers.insert(name, value);
        }
        draft.request(body, headers, url)
    },
};

/// Client secret that signs the examples.
pub const API_SECRET: &str = "test-shopify-secret";
/// Shop of the examples.
pub const SHOP: &str = "corner-shop.myshopify.com";

/// Returns the credentials of the examples.
#[must_use]
pub fn credentials() -> Credentials {
    Credentials::new([(super::API_SECRET.to_owned(), vec![API_SECRET.into()])])
}

/// Returns a 64-bit id that differs for each seed and `what`.
fn number(seed: &Seed, what: &str) -> i64 {
    let digest = signature::fingerprint(format!("{}{what}", seed.nonce).as_bytes());
    i64::from_str_radix(digest.get(..15).unwrap_or_default(), 16).unwrap_or_default()
}

fn webhook_draft(seed: &Seed, topic: &str, body: Value) -> Draft {
    let (hook, event) = (format!("hook-{}", seed.nonce), format!("event-{}", seed.nonce));
    let at = seed.at.to_string();
    with_headers(
        Draft::json(body),
        &[
            ("x-shopify-topic", topic),
            ("x-shopify-shop-domain", SHOP),
            ("x-shopify-api-version", "2026-10"),
            ("x-shopify-webhook-id", &hook),
            ("x-shopify-event-id", &event),
            ("x-shopify-triggered-at", &at),
        ],
    )
}

fn with_headers(mut draft: Draft, headers: &[(&'static str, &str)]) -> Draft {
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(value) {
            draft.headers.insert(*name, value);
        }
    }
    draft
}

fn order_created(seed: &Seed) -> Draft {
    let id = number(seed, "order");
    let order = json!({
        "id": id,
        "admin_graphql_api_id": format!("gid://shopify/Order/{id}"),
        "name": "#1042",
        "email": "zoe@example.com",
        "currency": "EUR",
        "total_price": "39.98",
        "financial_status": "paid",
        "created_at": seed.at.to_string(),
        "updated_at": seed.at.to_string(),
        "line_items": [{
            "id": number(seed, "line"), "title": "Tasse „Größe M“", "quantity": 2, "price": "19.99",
        }],
        "customer": { "id": number(seed, "customer"), "first_name": "Zoë", "last_name": "Müller" },
    });
    webhook_draft(seed, "orders/create", order)
}

fn order_refunded(seed: &Seed) -> Draft {
    let refund = json!({
        "id": number(seed, "refund"),
        "order_id": number(seed, "order"),
        "created_at": seed.at.to_string(),
        "note": "broken on arrival",
        "refund_line_items": [],
        "transactions": [],
    });
    webhook_draft(seed, "refunds/create", refund)
}

fn product(seed: &Seed) -> Value {
    let id = number(seed, "product");
    json!({
        "id": id,
        "admin_graphql_api_id": format!("gid://shopify/Product/{id}"),
        "title": "Tasse „Größe M“",
        "status": "active",
        "updated_at": seed.at.to_string(),
        "variants": [{ "id": number(seed, "variant"), "price": "19.99", "sku": "CUP-M" }],
    })
}

fn product_updated(seed: &Seed) -> Draft {
    webhook_draft(seed, "products/update", product(seed))
}

/// It also has the older headers.
fn product_event(seed: &Seed) -> Draft {
    let (hook, event) = (format!("hook-{}", seed.nonce), format!("event-{}", seed.nonce));
    let at = seed.at.to_string();
    let resource = format!("gid://shopify/Product/{}", number(seed, "product"));
    with_headers(
        webhook_draft(seed, "Product", json!({ "product": product(seed) })),
        &[
            ("shopify-topic", "Product"),
            ("shopify-action", "update"),
            ("shopify-handle", "products"),
            ("shopify-shop-domain", SHOP),
            ("shopify-api-version", "unstable"),
            ("shopify-webhook-id", &hook),
            ("shopify-event-id", &event),
            ("shopify-resource-id", &resource),
            ("shopify-triggered-at", &at),
        ],
    )
}

fn app_uninstalled(seed: &Seed) -> Draft {
    let shop = json!({ "id": 548_380_009, "name": "Corner Shop", "myshopify_domain": SHOP });
    webhook_draft(seed, "app/uninstalled", shop)
}

fn customer_data_request(seed: &Seed) -> Draft {
    let body = json!({
        "shop_id": 548_380_009,
        "shop_domain": SHOP,
        "orders_requested": [number(seed, "order")],
        "customer": { "id": number(seed, "customer"), "email": "zoe@example.com" },
        "data_request": { "id": number(seed, "request") },
    });
    webhook_draft(seed, "customers/data_request", body)
}

fn customer_redact(seed: &Seed) -> Draft {
    let body = json!({
        "shop_id": 548_380_009,
        "shop_domain": SHOP,
        "customer": { "id": number(seed, "customer"), "email": "zoe@example.com" },
        "orders_to_redact": [number(seed, "order")],
    });
    webhook_draft(seed, "customers/redact", body)
}

fn shop_redact(seed: &Seed) -> Draft {
    webhook_draft(seed, "shop/redact", json!({ "shop_id": 548_380_009, "shop_domain": SHOP }))
}
