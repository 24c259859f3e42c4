"""Condition keys that MiniStack's evaluation of IAM does not know.

`kms:EncryptionContext:<name>` has a value of the encryption context of a request to KMS.

`dynamodb:LeadingKeys` has the partition keys that a request names in the table, or in the index, that is
checked.
MiniStack checks a batch once for each table and a transaction once for each item, as AWS does. The
ARN that it checks is the only value that differs between these checks, so the keys are attached to it.
"""

import json
import re

NAME = "dynamodb:leadingkeys"


class KeyedArn(str):
    """ARN of a table or index, with the partition keys that a request names there."""

    def __new__(cls, arn, keys):
        keyed = super().__new__(cls, arn)
        keyed.leading_keys = keys
        return keyed


def of_item(detail):
    """Returns the partition key of a request for one item."""
    item = detail.get("Key") or detail.get("Item") or {}
    return list(item.get("pk", {}).values())


def of_query(query):
    """Returns the partition key of a query of the table or the index."""
    attribute = "gsi1pk" if query.get("IndexName") else "pk"
    names, values = query.get("ExpressionAttributeNames", {}), query.get("ExpressionAttributeValues", {})
    condition = re.sub(r"#\w+", lambda name: names.get(name[0], ""), query["KeyConditionExpression"])
    found = re.search(rf"\b{attribute}\s*=\s*(:\w+)", condition)
    return list(values.get(found[1], {}).values()) if found else []


def of_batch(requests):
    """Returns the partition keys of a batch in one of its tables: of its reads, or of its writes."""
    if isinstance(requests, dict):
        return [key for read in requests["Keys"] for key in of_item({"Key": read})]
    return [key for write in requests for detail in write.values() for key in of_item(detail)]


def patch(iam_actions, iam_evaluator):
    """Makes MiniStack supply the condition keys."""
    tags = iam_actions.request_tag_context

    def with_encryption_context(service, action, body, *rest):
        context = json.loads(body or b"{}").get("EncryptionContext", {}) if service == "kms" else {}
        named = {f"kms:EncryptionContext:{name}": value for name, value in context.items()}
        return tags(service, action, body, *rest) | named

    iam_actions.request_tag_context = with_encryption_context
    resource_arns, transaction_checks = iam_actions.dynamodb_resource_arns, iam_actions.dynamodb_transaction_checks
    resolve = iam_evaluator._resolve_condition_key

    def keyed_arns(body, region, account):
        arns = resource_arns(body, region, account)
        request = json.loads(body) if arns else {}
        if "TableName" in request:
            keys = [of_query(request) if "KeyConditionExpression" in request else of_item(request)]
        else:
            keys = [of_batch(requests) for requests in request.get("RequestItems", {}).values()]
        return [KeyedArn(*pair) for pair in zip(arns, keys, strict=True)]

    def keyed_checks(action, body, region, account):
        checks = transaction_checks(action, body, region, account)
        items = json.loads(body)["TransactItems"] if checks else []
        members = iam_actions._DYNAMODB_TRANSACT_ITEM_ACTIONS
        keys = [of_item(item[member]) for item in items for member in members if member in item]
        return [(action, KeyedArn(arn, key)) for (action, arn), key in zip(checks, keys, strict=True)]

    iam_actions.dynamodb_resource_arns, iam_actions.dynamodb_transaction_checks = keyed_arns, keyed_checks
    # Without keys, the condition key is absent.
    iam_evaluator._resolve_condition_key = lambda key, context: (
        (getattr(context.resource_arn, "leading_keys", None) or None) if key.lower() == NAME else resolve(key, context)
    )
