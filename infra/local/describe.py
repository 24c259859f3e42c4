"""Prints each function's routes, permissions, queues and settings from the templates.

Usage: describe.py --template template.yaml

The templates are first translated to plain CloudFormation, as in a deployment. Then the resources
of all nested stacks are merged, and a parameter of a stack is replaced by the resource that its
parent passes, so that the output does not depend on how resources are divided into stacks. The
output is sorted JSON, so that two outputs can be compared line by line.
"""

import argparse
import json
import pathlib
import re
import sys

import deploy

# The function properties that are printed.
SETTINGS = ("MemorySize", "Timeout", "ReservedConcurrentExecutions", "RecursiveLoop", "Environment")
# The templates of a queue and of a table, whose instances are printed as resources.
INSTANCES = ("queue.yaml", "table.yaml")


class Merged:
    """The resources of a template and its nested stacks, without the parameters between them."""

    def __init__(self, templates, root):
        self.templates, self.resources, self.outputs = templates, {}, {}
        self.merge(root, {})

    def merge(self, path, parameters):
        plain = deploy.translate(self.templates[path])
        for name, properties in deploy.of_type(plain, deploy.STACK).items():
            if not properties["TemplateURL"].endswith(INSTANCES):
                passed = {key: self.resolved(value, parameters) for key, value in properties.get("Parameters", {}).items()}
                self.outputs[name] = self.merge(deploy.nested_path(path, properties), passed)
        for name, resource in plain["Resources"].items():
            if name not in self.outputs:
                self.resources[name] = self.resolved(resource, parameters)
        return {name: self.resolved(output["Value"], parameters) for name, output in plain.get("Outputs", {}).items()}

    def resolved(self, value, parameters):
        """Replaces parameters by what the parent passes, and outputs of nested stacks by their values."""
        if isinstance(value, list):
            return [self.resolved(item, parameters) for item in value]
        if not isinstance(value, dict):
            return value
        if list(value) == ["Fn::If"] and value["Fn::If"][0].endswith("Restored"):
            # What the stack uses if nothing is restored: its own resource.
            return self.resolved(value["Fn::If"][2], parameters)
        if list(value) == ["Ref"] and is_reference(parameters.get(value["Ref"])):
            return parameters[value["Ref"]]
        if list(value) == ["Fn::GetAtt"] and value["Fn::GetAtt"][0] in self.outputs:
            stack, output = value["Fn::GetAtt"]
            return self.outputs[stack][output.removeprefix("Outputs.")]
        if list(value) == ["Fn::Sub"] and isinstance(value["Fn::Sub"], str):
            text = re.sub(r"\$\{(\w+)}", lambda name: in_text(name, parameters), value["Fn::Sub"])
            return {"Fn::Sub": text} if "${" in text else text
        return {key: self.resolved(item, parameters) for key, item in value.items()}


def is_reference(value):
    """Whether a value names a resource or is text. Any other expression is printed as its parameter."""
    return isinstance(value, str) or isinstance(value, dict) and list(value)[0] in ("Ref", "Fn::GetAtt", "Fn::Sub")


def in_text(name, parameters):
    """Returns the value of the parameter that `${name}` names, in the notation of Fn::Sub."""
    value = parameters.get(name.group(1))
    if isinstance(value, str):
        return value
    kind, target = next(iter(value.items())) if is_reference(value) else ("", "")
    if kind == "Fn::Sub":
        return target
    return "${" + (".".join(target) if kind == "Fn::GetAtt" else target or name.group(1)) + "}"


def listed(value):
    return value if isinstance(value, list) else [value]


def rights_of(role, resources):
    """Returns the actions, resources and conditions of a role's policies, sorted."""
    documents = [policy["PolicyDocument"] for policy in role.get("Policies", [])]
    documents += [resources[policy["Ref"]]["Properties"]["PolicyDocument"] for policy in role.get("ManagedPolicyArns", [])]
    statements = [statement for document in documents for statement in document["Statement"]]
    rights = [[action, resource, *listed(statement.get("Condition", []))] for statement in statements
              for action in listed(statement["Action"]) for resource in listed(statement["Resource"])]
    # Several policies of a role may allow the same.
    unique = {json.dumps(right, sort_keys=True): right for right in rights}
    return [unique[key] for key in sorted(unique)]


def described(resources):
    functions = {}
    for name, resource in resources.items():
        if resource["Type"] == "AWS::Lambda::Function":
            properties = resource["Properties"]
            role = resources[properties["Role"]["Fn::GetAtt"][0]]["Properties"]
            functions[name] = {
                "settings": {key: properties[key] for key in SETTINGS if key in properties},
                "reads": [],
                "rights": rights_of(role, resources),
                "routes": [],
            }
    for resource in resources.values():
        properties = resource.get("Properties", {})
        if resource["Type"] == "AWS::Lambda::EventSourceMapping":
            functions[properties["FunctionName"]["Ref"]]["reads"].append(
                {key: value for key, value in properties.items() if key not in ("FunctionName", "Tags")})
        elif resource["Type"] == "AWS::ApiGatewayV2::Route":
            integration = properties["Target"]["Fn::Sub"].removeprefix("integrations/${").removesuffix("}")
            function = resources[integration]["Properties"]["IntegrationUri"]["Fn::GetAtt"][0]
            functions[function]["routes"].append([properties["RouteKey"], properties["AuthorizationType"]])
    for function in functions.values():
        function["routes"].sort()
    others = {name: resource for name, resource in resources.items()
              if resource["Type"].split("::")[1] in ("SQS", "DynamoDB", "S3", "CloudFormation", "Scheduler", "KMS")}
    return {"functions": functions, "resources": others}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--template", type=pathlib.Path, required=True, help="the root template")
    options = parser.parse_args()
    root = options.template.resolve()
    templates = deploy.read_templates(root)
    for template in templates.values():
        for properties in deploy.of_type(template, deploy.FUNCTION).values():
            # The location of the code is not printed, but the translator requires a bucket.
            properties["CodeUri"] = {"Bucket": "code", "Key": "code.zip"}
    try:
        merged = Merged(templates, root)
    except deploy.Failure as failure:
        sys.exit(f"describe: {failure}")
    document = described(merged.resources) | {"parameters": sorted(templates[root]["Parameters"])}
    print(json.dumps(document, indent=1, sort_keys=True, default=str))


if __name__ == "__main__":
    main()
