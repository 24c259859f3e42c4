// An idiomatic WhatsApp webhook in Node.js: verifies the signature, enqueues, responds. It does less
// than the hub's: it does not read the integration, tenant and secret, and handles one message per
// request.

import { createHmac, timingSafeEqual } from "node:crypto";
import { SendMessageCommand, SQSClient } from "@aws-sdk/client-sqs";

// Without the MD5 check of responses, which favors Node.js.
const sqs = new SQSClient({ md5: false });
const secret = process.env.WHATSAPP_APP_SECRET;
const queueUrl = process.env.INBOUND_QUEUE_URL;

function isAuthentic(body, header) {
  const given = Buffer.from((header ?? "").replace(/^sha256=/, ""), "hex");
  const expected = createHmac("sha256", secret).update(body).digest();
  return given.length === expected.length && timingSafeEqual(given, expected);
}

export async function handler(event) {
  const body = Buffer.from(event.body ?? "", event.isBase64Encoded ? "base64" : "utf8");
  if (!isAuthentic(body, event.headers["x-hub-signature-256"])) {
    return { statusCode: 401, body: "" };
  }
  const value = JSON.parse(body).entry[0].changes[0].value;
  const message = value.messages[0];
  await sqs.send(
    new SendMessageCommand({
      QueueUrl: queueUrl,
      MessageBody: JSON.stringify({ account: value.metadata.phone_number_id, message }),
      MessageGroupId: `${value.metadata.phone_number_id}:${message.from}`,
      MessageDeduplicationId: message.id,
    }),
  );
  console.log(JSON.stringify({ level: "INFO", message: "webhook accepted", events: 1 }));
  return { statusCode: 200, body: "" };
}
