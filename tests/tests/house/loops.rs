//! Functions that lead back to themselves through queues, which AWS takes for runaways unless it
//! is told otherwise. <https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html>

use std::collections::{BTreeMap, BTreeSet};

use crate::{Template, referred, text};

/// Which function leads to which: it may send to the queue that the other reads.
fn leads_to(template: &Template) -> BTreeMap<String, BTreeSet<String>> {
    let functions = template.of_type("AWS::Serverless::Function");
    let mut readers = BTreeMap::new();
    for (name, function) in &functions {
        for event in function["Events"].as_object().into_iter().flat_map(serde_json::Map::values) {
            if event["Type"] == "SQS" {
                readers.insert(text(&event["Properties"]["Queue"]["!GetAtt"]).to_owned(), *name);
            }
        }
    }
    let mut leads: BTreeMap<String, BTreeSet<String>> =
        functions.keys().map(|name| ((*name).to_owned(), BTreeSet::new())).collect();
    for (role, actions, resource) in template.rights() {
        let Some(queue) = resource.get("!GetAtt").and_then(serde_json::Value::as_str) else {
            continue;
        };
        if let Some(reader) = readers.get(queue)
            && actions.iter().any(|action| action == "sqs:SendMessage")
            && let Some(own) = role.strip_suffix("Role").and_then(|name| leads.get_mut(name))
        {
            own.insert((*reader).to_owned());
        }
    }
    leads
}

/// The functions that lead back to themselves, over however many others.
fn loops(template: &Template) -> BTreeSet<String> {
    let leads = leads_to(template);
    let comes_back = |start: &String| {
        let (mut seen, mut left) = (BTreeSet::new(), vec![start]);
        while let Some(name) = left.pop() {
            for next in &leads[name] {
                if next == start {
                    return true;
                }
                if seen.insert(next) {
                    left.push(next);
                }
            }
        }
        false
    };
    leads.keys().filter(|name| comes_back(name)).cloned().collect()
}

#[test]
fn a_loop_is_allowed_where_one_is_meant_and_nowhere_else() {
    let template = Template::read();
    let loops = loops(&template);
    for known in ["ConsumerReplay", "ConsumerAutomation", "SenderWhatsapp", "SenderCustom"] {
        assert!(loops.contains(known), "{known} is no loop: {loops:?}");
    }
    assert!(!loops.contains("ConsumerInbound"));
    for (name, function) in template.of_type("AWS::Serverless::Function") {
        let reason = template.resources[name]["Metadata"]["Loop"].as_str();
        if loops.contains(name) {
            assert_eq!(function["RecursiveLoop"], "Allow", "{name} leads back to itself");
            let reason =
                reason.unwrap_or_else(|| panic!("{name}: Metadata.Loop says what ends it"));
            assert!(reason.len() > 20, "{name}: {reason}");
        } else {
            assert!(function["RecursiveLoop"].is_null(), "{name} leads nowhere back");
            assert_eq!(reason, None, "{name}");
        }
    }
}

#[test]
fn a_loop_that_aws_cuts_short_rings_an_alarm() {
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
