"""Signs requests with the providers' own libraries, now: one JSON object a line.

The test `sdks` of the crate `providers` reads them; `cargo xtask test` runs both.
"""

import base64
import datetime
import json
import secrets
import sys
import time
import urllib.parse

import standardwebhooks
import stripe
import svix.webhooks
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from sendgrid.helpers.eventwebhook import EventWebhook
from twilio.request_validator import HMAC_SHA256, RequestValidator

HOST = "https://hub.example.com"
NOW = int(time.time())
OUT = sys.stdout


def put(name, webhook, credentials, body, headers, path, *, query="", method="POST", settings=None, signed=()):
    """One request. `signed` names the headers in which a changed character must be refused."""
    json.dump(
        {
            "name": name,
            "webhook": webhook,
            "credentials": credentials,
            "settings": settings or {},
            "now": NOW,
            "method": method,
            "url": HOST + path + query,
            "headers": headers,
            "body": base64.b64encode(body).decode(),
            "signed": list(signed),
        },
        OUT,
    )
    OUT.write("\n")


def stripes():
    secret = "whsec_" + secrets.token_hex(16)
    event = {
        "id": "evt_" + secrets.token_hex(12),
        "object": "event",
        "api_version": "2026-07-29.dahlia",
        "created": NOW,
        "type": "invoice.paid",
        "livemode": False,
        "data": {"object": {"id": "in_1", "object": "invoice", "customer": "cus_Zoë", "amount_paid": 4200}},
    }
    for name, payload in [("compact", json.dumps(event)), ("indented", json.dumps(event, indent=2, ensure_ascii=False))]:
        header = stripe.WebhookSignature.generate_signature_header(payload, secret, timestamp=NOW)
        headers = {"Stripe-Signature": header, "Content-Type": "application/json; charset=utf-8"}
        put(f"stripe {name}", "stripe", {"STRIPE_WEBHOOK_SECRET": [secret]}, payload.encode(), headers, "/webhooks/stripe", signed=["Stripe-Signature"])
    both = ["whsec_another", secret]
    put("stripe rotated", "stripe", {"STRIPE_WEBHOOK_SECRET": both}, payload.encode(), headers, "/webhooks/stripe", signed=["Stripe-Signature"])


def twilios():
    token = secrets.token_hex(16)
    account = "AC" + secrets.token_hex(16)
    message = {
        "MessageSid": "SM" + secrets.token_hex(16),
        "AccountSid": account,
        "From": "+4915550009999",
        "To": "+15550001111",
        "Body": "Grüße & 100% ☕ a=b+c",
        "NumMedia": "0",
        "SmsStatus": "received",
        "Empty": "",
    }
    status = {
        "MessageSid": "SM" + secrets.token_hex(16),
        "AccountSid": account,
        "MessageStatus": "delivered",
        "From": "+15550001111",
        "To": "+4915550009999",
    }
    call = {
        "CallSid": "CA" + secrets.token_hex(16),
        "AccountSid": account,
        "CallStatus": "completed",
        "SequenceNumber": "3",
        "CallbackSource": "call-progress-events",
        "Timestamp": "Sat, 21 Nov 2026 12:00:00 +0000",
    }
    whatsapp = dict(message, From="whatsapp:+4915550009999", To="whatsapp:+15550001111", WaId="4915550009999", ProfileName="Zoë")
    credentials = {"TWILIO_AUTH_TOKEN": [token], "TWILIO_ACCOUNT_SID": [account]}
    validator = RequestValidator(token)
    kind = "application/x-www-form-urlencoded"
    for webhook, path, fields in [
        ("twilio-sms", "/webhooks/sms", message),
        ("twilio-sms-status", "/webhooks/sms/status", status),
        ("twilio-voice", "/webhooks/voice", dict(call, CallStatus="ringing", From="+4915550009999", To="+15550001111")),
        ("twilio-voice-status", "/webhooks/voice/status", call),
        ("twilio-whatsapp", "/webhooks/whatsapp/twilio", whatsapp),
    ]:
        for query in ["", "?campaign=a%20b&x=%C3%BC"]:
            signature = validator.compute_signature(HOST + path + query, fields)
            headers = {"X-Twilio-Signature": signature, "Content-Type": kind}
            put(f"twilio {webhook}{query}", webhook, credentials, urllib.parse.urlencode(fields).encode(), headers, path, query=query, signed=["X-Twilio-Signature"])
        with_port = HOST + ":443" + path
        headers = {"X-Twilio-Signature": validator.compute_signature(with_port, fields), "Content-Type": kind}
        put(f"twilio {webhook} with a port", webhook, credentials, urllib.parse.urlencode(fields).encode(), headers, path, signed=["X-Twilio-Signature"])
    # JSON is covered by a digest in the address.
    body = json.dumps(message)
    path, query = "/webhooks/sms", "?bodySHA256=" + validator.compute_hash(body)
    headers = {"X-Twilio-Signature": validator.compute_signature(HOST + path + query, {}), "Content-Type": "application/json"}
    put("twilio json", "twilio-sms", credentials, body.encode(), headers, path, query=query, signed=["X-Twilio-Signature"])
    # A shared key and its algorithm.
    key, shared = "webhooks_sharedkey_" + secrets.token_hex(8), secrets.token_hex(24)
    signature = RequestValidator(shared).compute_signature(HOST + path, message, HMAC_SHA256)
    headers = {
        "X-Twilio-Signature": signature,
        "X-Twilio-Webhooks-Signature-Settings": f"key={key},algorithm=HMAC_SHA256",
        "Content-Type": kind,
    }
    put("twilio shared key", "twilio-sms", dict(credentials, TWILIO_SHARED_KEY=[f"{key}:{shared}"]), urllib.parse.urlencode(message).encode(), headers, path, signed=["X-Twilio-Signature"])


def svixes():
    secret = "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
    event = {
        "type": "email.delivered",
        "created_at": "2026-11-21T12:00:00.000Z",
        "data": {"email_id": "56761188-7520-42d8-8898-ff6fc54ce618", "from": "Hub <hub@example.com>", "to": ["zoë@example.org"], "subject": "Grüße"},
    }
    payload = json.dumps(event, ensure_ascii=False)
    identity, at = "msg_" + secrets.token_hex(12), datetime.datetime.fromtimestamp(NOW, datetime.timezone.utc)
    signature = svix.webhooks.Webhook(secret).sign(identity, at, payload)
    for prefix in ["svix", "webhook"]:
        headers = {f"{prefix}-id": identity, f"{prefix}-timestamp": str(NOW), f"{prefix}-signature": signature}
        put(f"resend {prefix}", "resend", {"RESEND_WEBHOOK_SECRET": [secret]}, payload.encode(), headers, "/webhooks/resend", signed=list(headers))


def standards():
    secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    payload = json.dumps({"type": "order.created", "data": {"id": 1, "note": "Grüße"}}, ensure_ascii=False)
    identity, at = "msg_" + secrets.token_hex(12), datetime.datetime.fromtimestamp(NOW, datetime.timezone.utc)
    signature = standardwebhooks.Webhook(secret).sign(identity, at, payload)
    headers = {"webhook-id": identity, "webhook-timestamp": str(NOW), "webhook-signature": signature}
    settings = {"scheme": {"type": "standard_webhooks"}}
    put("standard webhooks", "custom", {"CUSTOM_WEBHOOK_SECRET": [secret]}, payload.encode(), headers, "/webhooks/custom", settings=settings, signed=list(headers))


def sendgrids():
    key = ec.generate_private_key(ec.SECP256R1())
    public = base64.b64encode(
        key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    ).decode()
    events = [
        {"email": "zoe@example.org", "timestamp": NOW, "event": event, "sg_event_id": secrets.token_urlsafe(16), "sg_message_id": "14c5d75ce93.dfd.64b469.filter0001.16648.5515E0B88.0"}
        for event in ["processed", "delivered", "open"]
    ]
    # As SendGrid writes it: each event on a line that ends with a carriage return.
    payload = "[" + ",\r\n".join(json.dumps(event) for event in events) + "]\r\n"
    signature = base64.b64encode(key.sign((str(NOW) + payload).encode(), ec.ECDSA(hashes.SHA256()))).decode()
    assert EventWebhook(public).verify_signature(payload, signature, str(NOW))
    names = ["X-Twilio-Email-Event-Webhook-Signature", "X-Twilio-Email-Event-Webhook-Timestamp"]
    headers = dict(zip(names, [signature, str(NOW)]))
    put("sendgrid", "sendgrid", {"SENDGRID_WEBHOOK_PUBLIC_KEY": [public]}, payload.encode(), headers, "/webhooks/sendgrid", signed=names)


stripes()
twilios()
svixes()
standards()
sendgrids()
