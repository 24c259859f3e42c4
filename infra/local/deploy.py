"""Deploys the templates with prebuilt binaries to the local cloud.

Usage: deploy.py --endpoint http://127.0.0.1:4566 --stack switchboard --template template.yaml
                 --binary target/debug/bootstrap --folder target/local --parameter Stage=local

The templates are those that are deployed to AWS: the root and those of its nested stacks. Like
`sam package`, this script uploads them and the code; like AWS, it translates SAM to CloudFormation.
Writes FOLDER/outputs.json and FOLDER/api-id. Does nothing if neither a template nor a binary has
changed.
"""

import argparse
import hashlib
import io
import json
import logging
import os
import pathlib
import shutil
import sys
import time
import zipfile

REGION = "us-east-1"
CODE_BUCKET = "switchboard-code"
CAPABILITIES = ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"]
FUNCTION = "AWS::Serverless::Function"
STACK = "AWS::CloudFormation::Stack"


class Failure(Exception):
    """An error that ends the deployment with a one-line message."""


def client(service, endpoint):
    import boto3
    from botocore.config import Config

    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(proxies={}, retries={"max_attempts": 1}, read_timeout=120),
    )


def parse(text):
    from samtranslator.yaml_helper import yaml_parse

    return yaml_parse(text)


def read_template(path):
    try:
        return parse(path.read_text())
    except OSError as error:
        raise Failure(f"cannot read {path}: {error.strerror}") from error


def of_type(template, kind):
    """Returns the properties of the resources of a type, by logical id."""
    return {name: resource["Properties"] for name, resource in template["Resources"].items() if resource["Type"] == kind}


def nested_path(path, properties):
    """Returns the path of a nested stack's template, which is relative to that of its parent."""
    return (path.parent / properties["TemplateURL"]).resolve()


def read_templates(path):
    """Returns the template at `path` and those of all its nested stacks, by path."""
    found = {path: read_template(path)}
    for properties in of_type(found[path], STACK).values():
        child = nested_path(path, properties)
        if child not in found:
            found |= read_templates(child)
    return found


def place_binary(binary, names, folder):
    """Copies the binary to a path with its digest, so that a build does not overwrite a running one,
    and links it under the name of each function, so that a process has its function's name. Returns
    the paths by name."""
    try:
        with binary.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") \
                else hashlib.sha256(file.read()).hexdigest()
    except OSError as error:
        raise Failure(f"no binary for the functions at {binary}: {error.strerror}") from error
    code = folder / "code"
    links = {name: code / f"{name}-{digest[:16]}" for name in names}
    if not all(link.exists() for link in links.values()):
        shutil.rmtree(code, ignore_errors=True)
        code.mkdir(parents=True)
        copied = code / f"{binary.name}-{digest[:16]}"
        shutil.copy2(binary, copied)
        for link in links.values():
            os.link(copied, link)
    return links


def package(binary):
    """Returns a deployment package that executes the binary by path: a debug build has over 30 MB."""
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        entry = zipfile.ZipInfo("bootstrap")
        entry.external_attr = 0o755 << 16
        archive.writestr(entry, f"#!/bin/sh\nexec '{binary}'\n")
    return code.getvalue()


def put(s3, name, body):
    """Uploads an object that a stack refers to, with a key from its digest. Returns the key."""
    key = f"{hashlib.sha256(body).hexdigest()}-{name}"
    s3.put_object(Bucket=CODE_BUCKET, Key=key, Body=body)
    return key


def translate(template):
    """Translates a SAM template to plain CloudFormation."""
    from samtranslator.public.exceptions import InvalidDocumentException
    from samtranslator.translator.transform import transform

    class NoManagedPolicies:
        def load(self):
            return {}

    os.environ.setdefault("AWS_DEFAULT_REGION", REGION)
    # It warns of its own metrics at the end, after the line with this script's error.
    logging.getLogger("samtranslator.metrics.metrics").setLevel(logging.ERROR)
    try:
        return transform(template, {}, NoManagedPolicies())
    except InvalidDocumentException as error:
        raise Failure("the template is not valid SAM: " + "; ".join(e.message for e in error.causes)) from error


def wait(cloudformation, stack):
    while True:
        found = cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
        if not found["StackStatus"].endswith("IN_PROGRESS"):
            return found
        time.sleep(0.05)


def reason(cloudformation, stack):
    for event in reversed(cloudformation.describe_stack_events(StackName=stack)["StackEvents"]):
        if event["ResourceStatus"].endswith("FAILED"):
            return f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason', 'no reason given')}"
    return "no reason given"


def describe(cloudformation, stack):
    from botocore.exceptions import ClientError

    try:
        return cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
    except ClientError:
        return None


def apply(cloudformation, stack, present, arguments):
    from botocore.exceptions import ClientError

    status = present and present["StackStatus"]
    if status in ("ROLLBACK_COMPLETE", "CREATE_FAILED", "ROLLBACK_FAILED", "DELETE_FAILED"):
        cloudformation.delete_stack(StackName=stack)
        status = None
    call, wanted = (
        (cloudformation.create_stack, "CREATE_COMPLETE") if status is None
        else (cloudformation.update_stack, "UPDATE_COMPLETE")
    )
    try:
        call(**arguments)
    except ClientError as error:
        if "No updates are to be performed" in str(error):
            return wait(cloudformation, stack)
        raise
    found = wait(cloudformation, stack)
    if found["StackStatus"] != wanted:
        raise Failure(f"the stack {stack} is {found['StackStatus']}. {reason(cloudformation, stack)}")
    return found


def record(folder, stack):
    """Writes the stack's outputs to the files that the front port and the tests read."""
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}
    (folder / "outputs.json").write_text(json.dumps(outputs, indent=2, sort_keys=True) + "\n")
    (folder / "api-id").write_text(outputs["ApiId"] + "\n")


def read_parameter(entry):
    name, _, value = entry.partition("=")
    if value.startswith("@"):
        value = pathlib.Path(value[1:]).read_text().strip()
    return {"ParameterKey": name, "ParameterValue": value}


def upload(s3, endpoint, templates, path, binaries, urls):
    """Uploads a template after its code and its nested stacks. Returns the template's URL."""
    if path in urls:
        return urls[path]
    template = templates[path]
    for name, properties in of_type(template, FUNCTION).items():
        key = put(s3, f"{name}.zip", package(binaries[properties["Handler"]]))
        properties["CodeUri"] = {"Bucket": CODE_BUCKET, "Key": key}
    for properties in of_type(template, STACK).values():
        properties["TemplateURL"] = upload(s3, endpoint, templates, nested_path(path, properties), binaries, urls)
    plain = translate(template) if "Transform" in template else template
    key = put(s3, f"{path.stem}.json", json.dumps(plain, default=str).encode())
    urls[path] = f"{endpoint}/{CODE_BUCKET}/{key}"
    return urls[path]


def deploy(options):
    parameters = [read_parameter(entry) for entry in options.parameter]
    root = options.template.resolve()
    templates = read_templates(root)
    names = {properties["Handler"] for template in templates.values() for properties in of_type(template, FUNCTION).values()}
    binaries = place_binary(options.binary, names, options.folder)

    digest = hashlib.sha256()
    for part in (
        pathlib.Path(__file__).read_bytes(),
        *(path.read_bytes() for path in templates),
        json.dumps([parameters, {name: str(binary) for name, binary in binaries.items()}], sort_keys=True).encode(),
    ):
        digest.update(hashlib.sha256(part).digest())

    cloudformation = client("cloudformation", options.endpoint)
    tags = [{"Key": "switchboard:deployed", "Value": digest.hexdigest()}]
    present = describe(cloudformation, options.stack)
    if present and present["StackStatus"] in ("CREATE_COMPLETE", "UPDATE_COMPLETE") and present.get("Tags") == tags:
        record(options.folder, present)
        return "unchanged"

    s3 = client("s3", options.endpoint)
    s3.create_bucket(Bucket=CODE_BUCKET)
    found = apply(cloudformation, options.stack, present, {
        "StackName": options.stack,
        # An inline template is limited to 51,200 bytes.
        "TemplateURL": upload(s3, options.endpoint, templates, root, binaries, {}),
        "Capabilities": CAPABILITIES,
        "Parameters": parameters,
        "Tags": tags,
    })
    record(options.folder, found)
    return f"{len(binaries)} functions"


def forget_settings():
    """Removes the developer's own AWS settings, such as a profile or a CA bundle."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--endpoint", required=True, help="URL of the local cloud")
    parser.add_argument("--stack", default="switchboard", help="name of the stack")
    parser.add_argument("--template", type=pathlib.Path, required=True, help="the root template")
    parser.add_argument("--binary", type=pathlib.Path, required=True, help="binary with all functions")
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="folder for the deployed code and outputs")
    parser.add_argument("--parameter", action="append", default=[], metavar="NAME=VALUE",
                        help="a template parameter; NAME=@FILE reads it from a file")
    options = parser.parse_args()
    options.folder = options.folder.resolve()
    forget_settings()
    try:
        print(deploy(options))
    except Failure as failure:
        sys.exit(f"deploy: {failure}")
    except Exception as error:
        sys.exit(f"deploy: {type(error).__name__}: {error}"[:1000])


if __name__ == "__main__":
    main()
