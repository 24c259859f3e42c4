"""Prints each function's routes, permissions, queues and settings from the SAM template.

Usage: describe.py --template template.yaml

The template is first translated to plain CloudFormation, as in a deployment. The output is sorted
JSON, so that two outputs can be compared line by line.
"""

import argparse
import json
import pathlib
import sys

import deploy

# The function properties that are printed.
SETTINGS = ("MemorySize", "Timeout", "ReservedConcurrentExecutions", "RecursiveLoop", "Environment")


def described(plain):
    resources = plain["Resources"]
    functions = {}
    for name, resource in resources.items():
        if resource["Type"] == "AWS::Lambda::Function":
            properties = resource["Properties"]
            functions[name] = {
                "settings": {key: properties[key] for key in SETTINGS if key in properties},
                "role": properties["Role"],
                "reads": [],
                "routes": [],
            }
    by_target = {}
    for name, resource in resources.items():
        properties = resource.get("Properties", {})
        if resource["Type"] == "AWS::Lambda::EventSourceMapping":
            functions[properties["FunctionName"]["Ref"]]["reads"].append(
                {key: value for key, value in properties.items() if key not in ("FunctionName", "Tags")})
        elif resource["Type"] == "AWS::ApiGatewayV2::Integration":
            text = json.dumps(properties["IntegrationUri"])
            by_target[name] = next((f for f in functions if f'{f}.Arn' in text or f'"{f}"' in text), None)
    for resource in resources.values():
        properties = resource.get("Properties", {})
        if resource["Type"] == "AWS::ApiGatewayV2::Route":
            target = json.dumps(properties["Target"])
            function = next((f for t, f in by_target.items() if "${" + t + "}" in target), None)
            if function:
                functions[function]["routes"].append([properties["RouteKey"], properties.get("AuthorizationType", "NONE")])
    for function in functions.values():
        role = json.dumps(function.pop("role"))
        function["rights"] = next(
            (resource["Properties"].get("Policies", []) + resource["Properties"].get("ManagedPolicyArns", [])
             for name, resource in resources.items()
             if resource["Type"] == "AWS::IAM::Role" and f'"{name}"' in role), [])
        function["routes"].sort()
        function["reads"].sort(key=lambda entry: json.dumps(entry, sort_keys=True))
    others = {name: resource for name, resource in resources.items()
              if resource["Type"].split("::")[1] in ("SQS", "DynamoDB", "S3", "CloudFormation", "Scheduler", "KMS")}
    return {"functions": functions, "resources": others, "parameters": sorted(plain.get("Parameters", {}))}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--template", type=pathlib.Path, required=True, help="the SAM template")
    options = parser.parse_args()
    template = deploy.read_template(options.template)
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            # The location of the code is not printed, but the translator requires a bucket.
            resource["Properties"]["CodeUri"] = {"Bucket": "code", "Key": "code.zip"}
    try:
        plain = deploy.translate(template)
    except deploy.Failure as failure:
        sys.exit(f"describe: {failure}")
    deploy.spell_out_routes(plain)
    print(json.dumps(described(plain), indent=1, sort_keys=True, default=str))


if __name__ == "__main__":
    main()
