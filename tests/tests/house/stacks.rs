//! Rules of the stacks: their size, what they pass to each other, and what belongs to a function.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;
use templates::{QUEUE, ROOT};

use crate::{Template, each, names_in, referred, text};

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
        let routes =
            stage["RouteSettings"].as_object().into_iter().flat_map(serde_json::Map::values);
        // The settings of a route replace the default ones, and do not add to them.
        for settings in routes.chain([&stage["DefaultRouteSettings"]]) {
            let detailed = &settings["DetailedMetricsEnabled"];
            assert_eq!(detailed, false, "{name}: a route has six metrics at $0.30 a month");
        }
    }
}

#[test]
fn every_route_is_throttled() {
    let template = Template::read();
    for (name, stage) in template.of_type("AWS::ApiGatewayV2::Stage") {
        let default = &stage["DefaultRouteSettings"];
        for limit in ["ThrottlingRateLimit", "ThrottlingBurstLimit"] {
            let parameter = referred(&default[limit]).expect("a parameter");
            let parameter = &template.0.stacks[ROOT]["Parameters"][parameter];
            assert!(
                parameter["Default"].as_u64().is_some_and(|limit| limit > 0),
                "{name}: {limit}"
            );
        }
        // API Gateway refuses a stage with settings for a route that does not exist yet.
        let first = each(&template.0.resources[name]["DependsOn"]);
        for key in stage["RouteSettings"].as_object().into_iter().flatten().map(|(key, _)| key) {
            let created = first.iter().any(|route| {
                template.0.resources[text(route)]["Properties"]["RouteKey"] == key.as_str()
            });
            assert!(created, "{name} must depend on the route {key}");
        }
    }
}

#[test]
fn the_api_has_fewer_than_300_routes() {
    let routes = Template::read().of_type("AWS::ApiGatewayV2::Route").len();
    assert!(routes < 300, "{routes}: the quota of an API, which AWS can raise");
}

/// Returns an upper bound of the characters of a policy in IAM.
fn characters(value: &Value) -> usize {
    /// Longer than a name, region or account in an ARN.
    const REFERENCE: usize = 64;
    fn references(value: &Value) -> usize {
        match value {
            Value::Array(items) => items.iter().map(references).sum(),
            Value::Object(fields) => fields
                .iter()
                .map(|(name, field)| match field {
                    // An ARN has five parts before its name.
                    Value::String(_) if name == "!Ref" || name == "!GetAtt" => 3,
                    Value::String(text) if name == "!Sub" => text.matches("${").count(),
                    other => references(other),
                })
                .sum(),
            _ => 0,
        }
    }
    value.to_string().len() + references(value) * REFERENCE
}

#[test]
fn policies_are_smaller_than_iam_allows() {
    let template = Template::read();
    for (name, role) in template.of_type("AWS::IAM::Role") {
        let policies = role["Policies"].as_array().into_iter().flatten();
        let size: usize = policies.map(|policy| characters(&policy["PolicyDocument"])).sum();
        assert!(size < 10_240, "{name}: the inline policies have up to {size} characters");
        let attached = role["ManagedPolicyArns"].as_array().map_or(0, Vec::len);
        assert!(attached <= 10, "{name} has {attached} managed policies");
    }
    for (name, policy) in template.of_type("AWS::IAM::ManagedPolicy") {
        let size = characters(&policy["PolicyDocument"]);
        assert!(size < 6_144, "{name} has up to {size} characters");
    }
}

#[test]
fn a_dead_letter_queue_can_be_redriven_to_its_own_queue_only() {
    let template = Template::read();
    let resources = &template.0.stacks[QUEUE]["Resources"];
    let allowed = &resources["DeadLetters"]["Properties"]["RedriveAllowPolicy"];
    assert_eq!(allowed["redrivePermission"], "byQueue");
    let sources = &allowed["sourceQueueArns"][0]["!If"];
    let names = &resources["Queue"]["Properties"]["QueueName"]["!If"];
    assert_eq!(sources[0], names[0]);
    // The ARN is written out, because a reference to the queue would be a circular one.
    let arn = "arn:${AWS::Partition}:sqs:${AWS::Region}:${AWS::AccountId}:";
    assert_eq!(sources[1]["!Sub"], format!("{arn}{}", text(&names[1]["!Sub"])));
    assert_eq!(sources[2]["!Sub"], format!("{arn}${{{}}}", text(&names[2]["!Ref"])));
}

#[test]
fn data_outlives_its_stack_unless_the_stack_was_never_created() {
    let (template, mut kept) = (Template::read(), BTreeSet::new());
    for (path, template) in &template.0.stacks {
        for (name, resource) in template["Resources"].as_object().expect("resources") {
            let deletion = &resource["DeletionPolicy"];
            // A stack whose first deployment fails would leave empty tables and buckets behind.
            assert_ne!(deletion, "Retain", "{path}: {name}: write RetainExceptOnCreate");
            let kind = text(&resource["Type"]);
            if ["AWS::DynamoDB::Table", "AWS::S3::Bucket"].contains(&kind) {
                assert_eq!(deletion, "RetainExceptOnCreate", "{path}: {name}");
                assert_eq!(resource["UpdateReplacePolicy"], "Retain", "{path}: {name}");
                kept.insert(kind);
            }
        }
    }
    assert_eq!(kept.len(), 2);
}

#[test]
fn a_stack_can_use_the_restored_table_of_every_feature_and_a_restored_bucket() {
    let template = Template::read();
    let root = &template.0.stacks[ROOT];
    let mut restored = vec![("Core", "BucketRestored", "BucketRestored".to_owned())];
    restored
        .extend(template.0.tables().map(|table| (table, "Restored", format!("{table}Restored"))));
    assert!(restored.len() > 5);
    for (stack, parameter, name) in restored {
        let passed = &root["Resources"][stack]["Properties"]["Parameters"][parameter];
        assert_eq!(referred(passed), Some(name.as_str()), "{stack}");
        assert_eq!(root["Parameters"][&name]["Default"], "", "{name}");
    }
}

#[test]
fn a_function_that_everyone_can_call_has_a_limit_of_its_own_if_the_operator_sets_one() {
    let template = Template::read();
    for (binary, (name, function)) in template.functions() {
        let condition = match binary.split('-').next() {
            Some("webhook") => "HasWebhookConcurrency",
            // It has its own parameter, because each waiting worker occupies it.
            Some("api") if binary != "api-queue" => "HasApiConcurrency",
            Some("consumer" | "sender") => {
                let event = &function["Events"]["Queue"]["Properties"]["ScalingConfig"];
                assert!(event["MaximumConcurrency"].is_u64(), "{name}");
                continue;
            }
            _ => continue,
        };
        let reserved = &function["ReservedConcurrentExecutions"]["!If"];
        assert_eq!(reserved[0], condition, "{name}");
        let parameter = condition.trim_start_matches("Has");
        assert_eq!(referred(&reserved[1]), Some(parameter), "{name}");
        // A new account has too little concurrency to reserve any of it.
        assert_eq!(template.0.stacks[ROOT]["Parameters"][parameter]["Default"], 0, "{parameter}");
    }
}

#[test]
fn tracing_is_off_unless_the_operator_turns_it_on() {
    let template = Template::read();
    for (name, function) in template.of_type("AWS::Serverless::Function") {
        assert_eq!(referred(&function["Tracing"]), Some("Tracing"), "{name}");
    }
    assert_eq!(template.0.stacks[ROOT]["Parameters"]["Tracing"]["Default"], "PassThrough");
}

#[test]
fn the_access_log_names_the_tenant_and_the_key_and_never_has_the_key_itself() {
    let template = Template::read();
    let stages = template.of_type("AWS::ApiGatewayV2::Stage");
    let format = text(&stages["ApiStage"]["AccessLogSettings"]["Format"]);
    let fields: serde_json::Map<String, Value> = serde_json::from_str(format).expect("JSON");
    for (field, variable) in [
        ("request_id", "$context.requestId"),
        ("source_ip", "$context.identity.sourceIp"),
        ("tenant", "$context.authorizer.tenant"),
        ("key", "$context.authorizer.key"),
    ] {
        assert_eq!(fields[field], variable);
    }
    // Neither a header nor a path, which can contain a secret.
    for variable in ["$context.path", "$context.authorizer.claims", "header"] {
        assert!(!format.contains(variable), "{format}");
    }
    // The authorizer returns what the log names.
    let authorizer = crate::read("shared/features/accounts/src/authorizer.rs");
    for name in ["\"tenant\":", "\"key\":"] {
        assert!(authorizer.contains(name), "{name}");
    }
}
