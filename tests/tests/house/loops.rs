//! Functions that invoke themselves through queues, which Lambda stops as recursive loops unless
//! they are allowed. <https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html>

use std::collections::{BTreeMap, BTreeSet};

use crate::{Granted, OUTBOUND_QUEUES, Template, referred, text};

/// Returns for each function the functions that read a queue it may send to.
fn successors(template: &Template) -> BTreeMap<String, BTreeSet<String>> {
    let functions = template.of_type("AWS::Serverless::Function");
    let mut readers = BTreeMap::new();
    for (name, function) in &functions {
        for event in function["Events"].as_object().into_iter().flat_map(serde_json::Map::values) {
            if event["Type"] == "SQS" {
                readers.insert(text(&event["Properties"]["Queue"]["!GetAtt"]).to_owned(), *name);
            }
        }
    }
    let mut successors: BTreeMap<String, BTreeSet<String>> =
        functions.keys().map(|name| ((*name).to_owned(), BTreeSet::new())).collect();
    for Granted { role, actions, resource, .. } in template.permissions() {
        let is_reached = |queue: &str| {
            let is_outbound = resource["!Sub"] == OUTBOUND_QUEUES && queue.starts_with("Outbound");
            is_outbound || resource["!GetAtt"] == queue
        };
        let reached = readers.iter().filter(|(queue, _)| is_reached(queue));
        if actions.iter().any(|action| action == "sqs:SendMessage")
            && let Some(own) = role.strip_suffix("Role").and_then(|name| successors.get_mut(name))
        {
            own.extend(reached.map(|(_, reader)| (*reader).to_owned()));
        }
    }
    successors
}

/// Returns the functions that can reach themselves through any number of others.
fn loops(template: &Template) -> BTreeSet<String> {
    let successors = successors(template);
    let reaches_itself = |start: &String| {
        let (mut seen, mut pending) = (BTreeSet::new(), vec![start]);
        while let Some(name) = pending.pop() {
            for next in &successors[name] {
                if next == start {
                    return true;
                }
                if seen.insert(next) {
                    pending.push(next);
                }
            }
        }
        false
    };
    successors.keys().filter(|name| reaches_itself(name)).cloned().collect()
}

#[test]
fn a_recursive_loop_is_allowed_only_where_one_is_intended() {
    let template = Template::read();
    let loops = loops(&template);
    for known in ["ConsumerReplay", "ConsumerAutomation", "SenderWhatsapp", "SenderCustom"] {
        assert!(loops.contains(known), "{known} is not in a loop: {loops:?}");
    }
    assert!(!loops.contains("ConsumerInbound"));
    for (name, function) in template.of_type("AWS::Serverless::Function") {
        let reason = template.0.resources[name]["Metadata"]["Loop"].as_str();
        if loops.contains(name) {
            assert_eq!(function["RecursiveLoop"], "Allow", "{name} can invoke itself");
            let reason = reason
                .unwrap_or_else(|| panic!("{name}: Metadata.Loop must say what ends the loop"));
            assert!(reason.len() > 20, "{name}: {reason}");
        } else {
            assert!(function["RecursiveLoop"].is_null(), "{name} is in no loop");
            assert_eq!(reason, None, "{name}");
        }
    }
}

#[test]
fn a_function_that_reads_a_queue_names_the_queues_that_it_sends_to() {
    let template = Template::read();
    let readers: BTreeSet<String> = template
        .of_type("AWS::Serverless::Function")
        .into_iter()
        .filter(|(_, function)| function["Events"]["Queue"]["Type"] == "SQS")
        .map(|(name, _)| format!("{name}Role"))
        .collect();
    assert!(readers.len() > 10, "{readers:?}");
    // With another pattern of queues, the loops above could not be found.
    for Granted { role, actions, resource, .. } in template.permissions() {
        if readers.contains(&role) && actions.iter().any(|action| action == "sqs:SendMessage") {
            let is_known = resource.get("!GetAtt").is_some() || resource["!Sub"] == OUTBOUND_QUEUES;
            assert!(is_known, "{role} may send to {resource}");
        }
    }
}

#[test]
fn a_recursive_loop_stopped_by_lambda_raises_an_alarm() {
    let template = Template::read();
    let mut watched = BTreeSet::new();
    for (name, alarm) in template.of_type("AWS::CloudWatch::Alarm") {
        if alarm["MetricName"] != "RecursiveInvocationsDropped" {
            continue;
        }
        let function = referred(&alarm["Dimensions"][0]["Value"]).expect("a function");
        watched.insert(function.to_owned());
        assert_eq!(alarm["Namespace"], "AWS/Lambda", "{name}");
        assert_eq!(alarm["Dimensions"][0]["Name"], "FunctionName", "{name}");
        assert_eq!(alarm["Threshold"], 0, "{name}");
        assert_eq!(referred(&alarm["AlarmActions"][0]), Some("AlarmTopic"), "{name}");
    }
    assert_eq!(watched, loops(&template));
}
