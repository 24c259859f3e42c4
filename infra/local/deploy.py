"""Deploys the SAM template with prebuilt binaries to the local cloud.

Usage: deploy.py --endpoint http://127.0.0.1:4566 --stack switchboard --template template.yaml
                 --binaries target/debug --folder target/local --parameter Stage=local

The template is the one that is deployed to AWS. MiniStack ignores the OpenAPI body that SAM
generates for an HTTP API, so this script turns the body's routes into route resources. Nothing else
is changed. Writes FOLDER/outputs.json and FOLDER/api-id. Does nothing if neither the template nor
the binaries have changed.
"""

import argparse
import hashlib
import io
import json
import os
import pathlib
import re
import shutil
import sys
import time
import zipfile

REGION = "us-east-1"
CODE_BUCKET = "switchboard-code"
CAPABILITIES = ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"]


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


def read_template(path):
    from samtranslator.yaml_helper import yaml_parse

    try:
        return yaml_parse(path.read_text())
    except OSError as error:
        raise Failure(f"cannot read {path}: {error.strerror}") from error


def place_binary(name, binaries, folder):
    """Copies the binary to a path with its digest, so that a build does not overwrite a running one."""
    source = binaries / name
    try:
        with source.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") \
                else hashlib.sha256(file.read()).hexdigest()
    except OSError as error:
        raise Failure(f"no binary for the function {name} at {source}: {error.strerror}") from error
    target = folder / "code" / f"{name}-{digest[:16]}"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        for old in target.parent.glob(f"{name}-" + "[0-9a-f]" * 16):
            old.unlink()
        shutil.copy2(source, target.with_suffix(".new"))
        target.with_suffix(".new").rename(target)
    return target


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
    try:
        return transform(template, {}, NoManagedPolicies())
    except InvalidDocumentException as error:
        raise Failure("the template is not valid SAM: " + "; ".join(e.message for e in error.causes)) from error


def logical_id(*parts):
    return "".join(re.sub("[^A-Za-z0-9]", "", part.title()) for part in parts)


def spell_out_routes(template):
    """Replaces each HTTP API's OpenAPI body with integrations, routes and authorizers."""
    added = {}
    for name, resource in template["Resources"].items():
        if resource["Type"] != "AWS::ApiGatewayV2::Api" or "Body" not in resource["Properties"]:
            continue
        body = resource["Properties"].pop("Body")
        resource["Properties"].update({"Name": name, "ProtocolType": "HTTP"})
        cors = body.get("x-amazon-apigateway-cors")
        if cors:
            resource["Properties"]["CorsConfiguration"] = {k[0].upper() + k[1:]: v for k, v in cors.items()}
        authorizers = {}
        for scheme, content in body.get("components", {}).get("securitySchemes", {}).items():
            settings = content["x-amazon-apigateway-authorizer"]
            authorizers[scheme] = logical_id(name, "Authorizer", scheme)
            added[authorizers[scheme]] = {"Type": "AWS::ApiGatewayV2::Authorizer", "Properties": {
                "ApiId": {"Ref": name},
                "Name": scheme,
                "AuthorizerType": "REQUEST",
                "AuthorizerUri": settings["authorizerUri"],
                "AuthorizerPayloadFormatVersion": str(settings["authorizerPayloadFormatVersion"]),
                "AuthorizerResultTtlInSeconds": settings.get("authorizerResultTtlInSeconds", 300),
                "EnableSimpleResponses": settings.get("enableSimpleResponses", False),
                "IdentitySource": settings["identitySource"],
            }}
        targets = {}
        for path, methods in body.get("paths", {}).items():
            for method, operation in methods.items():
                settings = operation.get("x-amazon-apigateway-integration")
                if settings is None:
                    continue
                route = logical_id(name, "Route", method, path)
                # One integration per function: a stack is limited to 500 resources.
                integration = json.dumps(settings["uri"], sort_keys=True)
                target = targets.setdefault(integration, f"{route}Target")
                added[target] = {"Type": "AWS::ApiGatewayV2::Integration", "Properties": {
                    "ApiId": {"Ref": name},
                    "IntegrationType": "AWS_PROXY",
                    "IntegrationUri": settings["uri"],
                    "PayloadFormatVersion": settings["payloadFormatVersion"],
                }}
                verb = "ANY" if method.startswith("x-") else method.upper()
                properties = {
                    "ApiId": {"Ref": name},
                    "RouteKey": "$default" if path == "$default" else f"{verb} {path}",
                    "Target": {"Fn::Sub": "integrations/${" + target + "}"},
                }
                for scheme in (key for entry in operation.get("security", []) for key in entry):
                    if scheme in authorizers:
                        properties |= {"AuthorizationType": "CUSTOM", "AuthorizerId": {"Ref": authorizers[scheme]}}
                added[route] = {"Type": "AWS::ApiGatewayV2::Route", "Properties": properties}
    template["Resources"].update(added)


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


def deploy(options):
    parameters = [read_parameter(entry) for entry in options.parameter]
    template = read_template(options.template)
    template_folder = options.template.parent
    nested = {}
    functions = {}
    for name, resource in template["Resources"].items():
        properties = resource.get("Properties", {})
        if resource["Type"] == "AWS::Serverless::Function":
            binary = pathlib.PurePosixPath(properties["CodeUri"]).name
            functions[name] = place_binary(binary, options.binaries, options.folder)
        elif resource["Type"] == "AWS::CloudFormation::Stack":
            nested[name] = (template_folder / properties["TemplateURL"]).read_bytes()

    digest = hashlib.sha256()
    for part in (
        pathlib.Path(__file__).read_bytes(),
        options.template.read_bytes(),
        *nested.values(),
        json.dumps([parameters, {k: str(v) for k, v in functions.items()}], sort_keys=True).encode(),
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
    bucket_url = f"{options.endpoint}/{CODE_BUCKET}"
    for name, binary in functions.items():
        key = put(s3, f"{name}.zip", package(binary))
        template["Resources"][name]["Properties"]["CodeUri"] = {"Bucket": CODE_BUCKET, "Key": key}
    for name, body in nested.items():
        key = put(s3, f"{name}.yaml", body)
        template["Resources"][name]["Properties"]["TemplateURL"] = f"{bucket_url}/{key}"
    plain = translate(template)
    spell_out_routes(plain)
    found = apply(cloudformation, options.stack, present, {
        "StackName": options.stack,
        # An inline template is limited to 51,200 bytes.
        "TemplateURL": f"{bucket_url}/{put(s3, 'template.json', json.dumps(plain, default=str).encode())}",
        "Capabilities": CAPABILITIES,
        "Parameters": parameters,
        "Tags": tags,
    })
    record(options.folder, found)
    return f"{len(functions)} functions"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--endpoint", required=True, help="URL of the local cloud")
    parser.add_argument("--stack", default="switchboard", help="name of the stack")
    parser.add_argument("--template", type=pathlib.Path, required=True, help="the SAM template")
    parser.add_argument("--binaries", type=pathlib.Path, required=True, help="folder with the functions' binaries")
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="folder for the deployed code and outputs")
    parser.add_argument("--parameter", action="append", default=[], metavar="NAME=VALUE",
                        help="a template parameter; NAME=@FILE reads it from a file")
    options = parser.parse_args()
    options.folder = options.folder.resolve()
    # Removes the developer's own AWS settings, such as a profile or a CA bundle.
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    try:
        print(deploy(options))
    except Failure as failure:
        sys.exit(f"deploy: {failure}")
    except Exception as error:
        sys.exit(f"deploy: {type(error).__name__}: {error}"[:1000])


if __name__ == "__main__":
    main()
