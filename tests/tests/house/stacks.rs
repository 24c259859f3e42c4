//! Rules of the stacks: their size, what they pass to each other, and what belongs to a function.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use domain::Provider;
use serde_json::Value;
use templates::ROOT;

use crate::{Template, names_in, referred, text};

/// CloudFormation allows 500 resources in a stack. A stack with fewer is easier to read and is
/// updated faster; one that reaches this number is divided.
const MOST_RESOURCES: usize = 200;

/// Number of resources that SAM creates for an event source of a function.
fn generated(event: &Value) -> usize {
    match text(&event["Type"]) {
        "SQS" => 1,
        // The schedule and its role.
        "ScheduleV2" => 2,
        other => panic!("count the resources of an event source of type {other}"),
    }
}

/// Returns the number of resources of a template after SAM has translated it.
fn resources(template: &Value) -> usize {
    let resources = template["Resources"].as_object().expect("resources");
    let events = resources.values().filter_map(|resource| {
        let is_function = resource["Type"] == "AWS::Serverless::Function";
        is_function.then(|| resource["Properties"]["Events"].as_object()).flatten()
    });
    resources.len() + events.flat_map(|events| events.values()).map(generated).sum::<usize>()
}

#[test]
fn every_stack_has_fewer_than_200_resources() {
    let template = Template::read();
    assert!(template.0.stacks.len() > 10);
    for (path, stack) in &template.0.stacks {
        let found = resources(stack);
        assert!(found < MOST_RESOURCES, "{path} has {found} resources");
    }
}

#[test]
fn every_template_is_deployed() {
    let template = Template::read();
    let files = names_in("infra/stacks").into_iter().map(|name| format!("infra/stacks/{name}"));
    let files: BTreeSet<String> = files.chain([ROOT.to_owned()]).collect();
    let stacks: BTreeSet<String> = template.0.stacks.keys().cloned().collect();
    assert_eq!(files, stacks);
}

/// Calls `found` with every output of another stack that a value names: the stack and the output.
fn outputs_in<'a>(value: &'a Value, found: &mut impl FnMut(&'a str, &'a str)) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| outputs_in(item, found)),
        Value::Object(fields) => {
            for (tag, field) in fields {
                let output = field.as_str().and_then(|text| text.split_once(".Outputs."));
                if let Some((stack, output)) = output.filter(|_| tag == "!GetAtt") {
                    found(stack, output);
                }
                outputs_in(field, found);
            }
        }
        _ => {}
    }
}

#[test]
fn a_stack_gets_the_parameters_that_it_declares_and_gives_the_outputs_that_others_read() {
    let stacks = Template::read().0.stacks;
    for (path, template) in &stacks {
        let mut children = BTreeMap::new();
        for (name, resource) in template["Resources"].as_object().expect("resources") {
            if resource["Type"] != "AWS::CloudFormation::Stack" {
                continue;
            }
            let url = text(&resource["Properties"]["TemplateURL"]);
            let child = Path::new(path).parent().expect("a folder").join(url);
            let child = &stacks[child.to_str().expect("text")];
            children.insert(name.as_str(), child);
            let passed = resource["Properties"]["Parameters"].as_object().expect("parameters");
            let declared = child["Parameters"].as_object().expect("parameters");
            for parameter in passed.keys() {
                assert!(declared.contains_key(parameter), "{path}: {name} has no {parameter}");
            }
            for (parameter, details) in declared {
                let given = passed.contains_key(parameter) || !details["Default"].is_null();
                assert!(given, "{path}: {name} does not get {parameter}");
            }
        }
        outputs_in(template, &mut |stack, output| {
            let child = children.get(stack).unwrap_or_else(|| panic!("{path} has no {stack}"));
            assert!(!child["Outputs"][output].is_null(), "{path}: {stack} has no output {output}");
        });
    }
}

#[test]
fn a_function_logs_to_the_group_of_its_stack() {
    let stacks = Template::read().0.stacks;
    for (path, template) in &stacks {
        let resources = template["Resources"].as_object().expect("resources");
        if !resources.values().any(|resource| resource["Type"] == "AWS::Serverless::Function") {
            continue;
        }
        let globals = &template["Globals"]["Function"]["LoggingConfig"];
        let group =
            referred(&globals["LogGroup"]).unwrap_or_else(|| panic!("{path}: no log group"));
        assert_eq!(resources[group]["Type"], "AWS::Logs::LogGroup", "{path}");
        for (name, resource) in resources {
            assert!(resource["Properties"]["LoggingConfig"].is_null(), "{path}: {name}");
        }
    }
}

#[test]
fn a_function_with_routes_has_one_integration_and_one_permission() {
    let template = Template::read();
    let mut expected = BTreeSet::new();
    for (name, _) in template.0.functions() {
        if !template.0.routes(name).is_empty() {
            expected.insert((name.to_owned(), "${Api}/*".to_owned()));
        }
    }
    // API Gateway calls the authorizer for the authorizer's own ARN, not for a route.
    expected.insert(("ApiAuthorizer".to_owned(), "${Api}/authorizers/*".to_owned()));

    let permissions = template.of_type("AWS::Lambda::Permission");
    let invokers: BTreeSet<(String, String)> = permissions
        .values()
        .map(|permission| {
            assert_eq!(permission["Action"], "lambda:InvokeFunction");
            assert_eq!(permission["Principal"], "apigateway.amazonaws.com");
            let function = referred(&permission["FunctionName"]).expect("a function").to_owned();
            let source = text(&permission["SourceArn"]["!Sub"]);
            (function, source.rsplit(':').next().unwrap_or_default().to_owned())
        })
        .collect();
    assert_eq!(invokers, expected);
    assert_eq!(permissions.len(), expected.len(), "a function has two permissions");

    let integrations = template.of_type("AWS::ApiGatewayV2::Integration");
    let functions: BTreeSet<&str> = integrations
        .values()
        .map(|integration| {
            assert_eq!(integration["PayloadFormatVersion"], "2.0");
            referred(&integration["IntegrationUri"]).expect("a function")
        })
        .collect();
    assert_eq!(functions.len(), integrations.len(), "a function has two integrations");
    assert_eq!(functions.len() + 1, expected.len(), "an integration has no route");
}

#[test]
fn every_route_is_open_or_needs_the_authorizer() {
    for (name, route) in Template::read().of_type("AWS::ApiGatewayV2::Route") {
        let authorizer = referred(&route["AuthorizerId"]);
        match text(&route["AuthorizationType"]) {
            "NONE" => assert_eq!(authorizer, None, "{name}"),
            other => assert_eq!((other, authorizer), ("CUSTOM", Some("Authorizer")), "{name}"),
        }
    }
}

#[test]
fn an_update_of_the_api_keeps_the_routes_of_other_stacks() {
    let template = Template::read();
    for (name, api) in template.of_type("AWS::ApiGatewayV2::Api") {
        assert!(api["Body"].is_null() && api["BodyS3Location"].is_null(), "{name} has a body");
    }
    // SAM writes the routes of these into a body.
    let generated = template.of_type("AWS::Serverless::HttpApi");
    assert!(generated.is_empty(), "{:?}", generated.keys());
}

#[test]
fn no_route_has_separately_billed_metrics() {
    let template = Template::read();
    let stages = template.of_type("AWS::ApiGatewayV2::Stage");
    assert_eq!(stages.len(), 1);
    for (name, stage) in stages {
        let detailed = &stage["DefaultRouteSettings"]["DetailedMetricsEnabled"];
        assert_eq!(detailed, false, "{name}: each route would have six metrics at $0.30 a month");
    }
}

/// Whether messages can fail over between two providers, which is only possible within a channel.
fn can_fail_over(from: Provider, to: Provider) -> bool {
    from.channels().iter().any(|channel| to.supports(*channel))
}

#[test]
fn a_sender_reaches_the_queues_of_the_providers_that_it_fails_over_to_and_no_others() {
    let template = Template::read();
    let functions = template.functions();
    let queues = |binary: &str| -> BTreeSet<String> {
        let (_, function) = &functions[binary];
        let variables = function["Environment"]["Variables"].as_object().expect("variables");
        variables.keys().filter(|name| name.starts_with("OUTBOUND_")).cloned().collect()
    };
    for provider in Provider::senders() {
        let reached = Provider::senders().filter(|other| can_fail_over(provider, *other));
        let reached: BTreeSet<String> = reached.map(Provider::queue_variable).collect();
        assert_eq!(queues(&format!("sender-{}", provider.resource_name())), reached, "{provider}");
    }
    let all: BTreeSet<String> = Provider::senders().map(Provider::queue_variable).collect();
    assert_eq!(queues("api-messages"), all);
    assert_eq!(queues("api-conversations"), all);
}
