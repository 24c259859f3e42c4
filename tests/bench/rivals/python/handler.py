"""An idiomatic WhatsApp webhook in Python: verifies the signature, enqueues, responds.

It does less than the hub's: it does not read the integration, tenant and secret, and handles one
message per request.
"""

import base64
import hashlib
import hmac
import json
import os

import boto3

sqs = boto3.client("sqs")
secret = os.environ["WHATSAPP_APP_SECRET"].encode()
queue_url = os.environ["INBOUND_QUEUE_URL"]


def is_authentic(body, header):
    expected = hmac.new(secret, body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(f"sha256={expected}", header)


def handler(event):
    body = event.get("body") or ""
    body = base64.b64decode(body) if event.get("isBase64Encoded") else body.encode()
    if not is_authentic(body, event["headers"].get("x-hub-signature-256", "")):
        return {"statusCode": 401, "body": ""}
    value = json.loads(body)["entry"][0]["changes"][0]["value"]
    message = value["messages"][0]
    account = value["metadata"]["phone_number_id"]
    sqs.send_message(
        QueueUrl=queue_url,
        MessageBody=json.dumps({"account": account, "message": message}),
        MessageGroupId=f"{account}:{message['from']}",
        MessageDeduplicationId=message["id"],
    )
    print(json.dumps({"level": "INFO", "message": "webhook accepted", "events": 1}), flush=True)
    return {"statusCode": 200, "body": ""}
