"""Restores the data of a hub on the local cloud, and deploys a second stack that uses it.

Usage: restore_drill.py --endpoint http://127.0.0.1:4566 --template template.yaml
                        --binary target/debug/bootstrap --folder target/local --parameter Stage=local

Waits until the queues of the first stack are empty. Then it follows "Restore" in infra/README.md:
each table is restored into a new one, and the objects are copied into a new bucket. Fails if a
restored table or the bucket differs from its source. Prints what was compared. Afterwards, the front
port serves the second stack.
"""

import argparse
import hashlib
import json
import pathlib
import sys
import time

import deploy

FIRST, SECOND = "switchboard", "switchboard-restored"
FEATURES = ("Accounts", "Events", "Endpoints", "Messaging", "Work", "Credentials")
# Seconds.
PATIENCE = 60


def digest(lines):
    """Returns the number of lines and their digest, whatever their order."""
    lines = sorted(lines)
    return len(lines), hashlib.sha256("\n".join(lines).encode()).hexdigest()


def items(dynamodb, table):
    pages = dynamodb.get_paginator("scan").paginate(TableName=table, ConsistentRead=True)
    return digest(json.dumps(item, sort_keys=True, default=str) for page in pages for item in page["Items"])


def objects(s3, bucket):
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return [(entry["Key"], entry["ETag"]) for page in pages for entry in page.get("Contents", [])]


def wait_for_empty_queues(sqs):
    """Waits until the queues of the first stack are empty: a backup cannot have their records."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed"]
    deadline = time.monotonic() + PATIENCE
    while True:
        urls = sqs.list_queues(QueueNamePrefix=f"{FIRST}-")["QueueUrls"]
        attributes = [sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"] for url in urls]
        records = sum(int(value) for found in attributes for value in found.values())
        if not records:
            return
        if time.monotonic() > deadline:
            raise deploy.Failure(f"the queues still have {records} records after {PATIENCE} s")
        time.sleep(0.2)


def restore_table(dynamodb, source, target):
    """Restores a table. Returns what `items` returns for it."""
    for _attempt in range(3):
        before = items(dynamodb, source)
        dynamodb.restore_table_to_point_in_time(
            SourceTableName=source, TargetTableName=target, UseLatestRestorableTime=True)
        dynamodb.get_waiter("table_exists").wait(TableName=target)
        if items(dynamodb, source) == before:
            break
        # A scheduled function has written meanwhile.
        dynamodb.delete_table(TableName=target)
    else:
        raise deploy.Failure(f"{source} changes while it is restored")
    if items(dynamodb, target) != before:
        raise deploy.Failure(f"{target} differs from {source}")
    dynamodb.update_time_to_live(
        TableName=target, TimeToLiveSpecification={"Enabled": True, "AttributeName": "ttl"})
    dynamodb.update_continuous_backups(
        TableName=target, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True})
    return before


def copy_bucket(s3, source, target):
    """Copies a bucket. Returns the number of its objects."""
    s3.create_bucket(Bucket=target)
    found = objects(s3, source)
    for key, _etag in found:
        s3.copy_object(Bucket=target, Key=key, CopySource={"Bucket": source, "Key": key})
    if sorted(objects(s3, target)) != sorted(found):
        raise deploy.Failure(f"the objects in {target} differ from those in {source}")
    return len(found)


def drill(options):
    dynamodb, s3 = (deploy.client(service, options.endpoint) for service in ("dynamodb", "s3"))
    outputs = json.loads((options.folder / "outputs.json").read_text())
    wait_for_empty_queues(deploy.client("sqs", options.endpoint))
    parameters = [f"SecretsOf={FIRST}", f"BucketRestored={SECOND}",
                  f"CredentialsKeyRestored={outputs['CredentialsKeyArn']}"]
    for feature in FEATURES:
        target = f"{SECOND}-{feature.lower()}"
        count, sha256 = restore_table(dynamodb, outputs[f"{feature}TableName"], target)
        parameters.append(f"{feature}TableRestored={target}")
        print(f"table of {feature.lower():<11} {count:>5} items, the same: {sha256[:16]}")
    count = copy_bucket(s3, outputs["BucketName"], SECOND)
    print(f"bucket              {count:>5} objects, the same")
    options.stack, options.parameter = SECOND, options.parameter + parameters
    print(f"second stack        {deploy.deploy(options)}")
    used = json.loads((options.folder / "outputs.json").read_text())
    expected = {f"{feature}TableName": f"{SECOND}-{feature.lower()}" for feature in FEATURES} | {"BucketName": SECOND}
    wrong = {name: used[name] for name, value in expected.items() if used[name] != value}
    if wrong:
        raise deploy.Failure(f"the second stack does not use what was restored: {wrong}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--endpoint", required=True, help="URL of the local cloud")
    parser.add_argument("--template", type=pathlib.Path, required=True, help="the root template")
    parser.add_argument("--binary", type=pathlib.Path, required=True, help="binary with all functions")
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="folder for the deployed code and outputs")
    parser.add_argument("--parameter", action="append", default=[], metavar="NAME=VALUE",
                        help="a template parameter; NAME=@FILE reads it from a file")
    options = parser.parse_args()
    options.folder = options.folder.resolve()
    deploy.forget_settings()
    try:
        drill(options)
    except deploy.Failure as failure:
        sys.exit(f"restore: {failure}")
    except Exception as error:
        sys.exit(f"restore: {type(error).__name__}: {error}"[:1000])


if __name__ == "__main__":
    main()
