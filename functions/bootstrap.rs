//! All functions in one binary. Lambda names the function in `_HANDLER`, the handler of its template.
//!
//! One binary is built and uploaded once; its figures against a binary for each function are in
//! `infra/README.md`.

/// Declares the module of each function's `main.rs`, and `run`, which runs a function by name.
macro_rules! functions {
    ($($name:literal => $module:ident in $path:literal;)*) => {
        $(
            #[path = $path]
            mod $module;
        )*

        fn run(handler: &str) -> Result<(), runtime::Error> {
            match handler {
                $($name => $module::main(),)*
                _ => Err(format!("there is no function `{handler}`: set the handler to a folder's name, such as `webhook-telegram`").into()),
            }
        }
    };
}

// `cargo xtask generate` writes this list.
functions! {
    "api-audit" => api_audit in "api/audit/main.rs";
    "api-authorizer" => api_authorizer in "api/authorizer/main.rs";
    "api-conversations" => api_conversations in "api/conversations/main.rs";
    "api-dead-letters" => api_dead_letters in "api/dead-letters/main.rs";
    "api-events" => api_events in "api/events/main.rs";
    "api-integrations" => api_integrations in "api/integrations/main.rs";
    "api-messages" => api_messages in "api/messages/main.rs";
    "api-openapi" => api_openapi in "api/openapi/main.rs";
    "api-queue" => api_queue in "api/queue/main.rs";
    "api-status" => api_status in "api/status/main.rs";
    "api-tenants" => api_tenants in "api/tenants/main.rs";
    "api-voice" => api_voice in "api/voice/main.rs";
    "consumer-automation" => consumer_automation in "consumers/automation/main.rs";
    "consumer-events" => consumer_events in "consumers/events/main.rs";
    "consumer-inbound" => consumer_inbound in "consumers/inbound/main.rs";
    "consumer-media" => consumer_media in "consumers/media/main.rs";
    "consumer-parked" => consumer_parked in "consumers/parked/main.rs";
    "consumer-receipts" => consumer_receipts in "consumers/receipts/main.rs";
    "consumer-replay" => consumer_replay in "consumers/replay/main.rs";
    "schedule-deliveries" => schedule_deliveries in "schedules/deliveries/main.rs";
    "schedule-jobs" => schedule_jobs in "schedules/jobs/main.rs";
    "sender-custom" => sender_custom in "senders/custom/main.rs";
    "sender-evolution" => sender_evolution in "senders/evolution/main.rs";
    "sender-infobip" => sender_infobip in "senders/infobip/main.rs";
    "sender-telegram" => sender_telegram in "senders/telegram/main.rs";
    "sender-twilio" => sender_twilio in "senders/twilio/main.rs";
    "sender-whatsapp" => sender_whatsapp in "senders/whatsapp/main.rs";
    "webhook-custom" => webhook_custom in "webhooks/custom/main.rs";
    "webhook-evolution" => webhook_evolution in "webhooks/evolution/main.rs";
    "webhook-facebook" => webhook_facebook in "webhooks/facebook/main.rs";
    "webhook-ghl" => webhook_ghl in "webhooks/ghl/main.rs";
    "webhook-inbound" => webhook_inbound in "webhooks/inbound/main.rs";
    "webhook-infobip" => webhook_infobip in "webhooks/infobip/main.rs";
    "webhook-linkedin" => webhook_linkedin in "webhooks/linkedin/main.rs";
    "webhook-mailgun" => webhook_mailgun in "webhooks/mailgun/main.rs";
    "webhook-n8n-ai-response" => webhook_n8n_ai_response in "webhooks/n8n-ai-response/main.rs";
    "webhook-n8n-human-takeover" => webhook_n8n_human_takeover in "webhooks/n8n-human-takeover/main.rs";
    "webhook-resend" => webhook_resend in "webhooks/resend/main.rs";
    "webhook-sendgrid" => webhook_sendgrid in "webhooks/sendgrid/main.rs";
    "webhook-ses" => webhook_ses in "webhooks/ses/main.rs";
    "webhook-shopify" => webhook_shopify in "webhooks/shopify/main.rs";
    "webhook-stripe" => webhook_stripe in "webhooks/stripe/main.rs";
    "webhook-telegram" => webhook_telegram in "webhooks/telegram/main.rs";
    "webhook-tiktok" => webhook_tiktok in "webhooks/tiktok/main.rs";
    "webhook-twilio-sms-status" => webhook_twilio_sms_status in "webhooks/twilio-sms-status/main.rs";
    "webhook-twilio-sms" => webhook_twilio_sms in "webhooks/twilio-sms/main.rs";
    "webhook-twilio-voice-status" => webhook_twilio_voice_status in "webhooks/twilio-voice-status/main.rs";
    "webhook-twilio-voice" => webhook_twilio_voice in "webhooks/twilio-voice/main.rs";
    "webhook-twilio-whatsapp" => webhook_twilio_whatsapp in "webhooks/twilio-whatsapp/main.rs";
    "webhook-whatsapp" => webhook_whatsapp in "webhooks/whatsapp/main.rs";
    "webhook-workflow-action" => webhook_workflow_action in "webhooks/workflow-action/main.rs";
    "webhook-x" => webhook_x in "webhooks/x/main.rs";
}

fn main() -> Result<(), runtime::Error> {
    run(&runtime::env::var("_HANDLER")?)
}
