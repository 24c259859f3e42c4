//! Alarms and the dashboard: what they watch exists, and the page lists every alarm.

use std::collections::BTreeSet;

use serde_json::Value;
use templates::{ROOT, Templates};

use crate::{read, root, sources, text};

const ALARM: &str = "AWS::CloudWatch::Alarm";

/// Calls `found` with every metric and its namespace that an alarm watches.
fn watched<'a>(alarm: &'a Value, found: &mut impl FnMut(&'a Value, &'a str)) {
    let single = alarm["MetricName"].as_str().map(|name| (&alarm["Namespace"], name));
    let listed = alarm["Metrics"].as_array().into_iter().flatten().filter_map(|query| {
        let metric = &query["MetricStat"]["Metric"];
        metric["MetricName"].as_str().map(|name| (&metric["Namespace"], name))
    });
    single.into_iter().chain(listed).for_each(|(namespace, name)| found(namespace, name));
}

/// Returns the alarms of all templates, by the template's path and their logical ids.
fn alarms(templates: &Templates) -> impl Iterator<Item = (&str, &str, &Value)> {
    templates.stacks.iter().flat_map(|(path, template)| {
        let resources = template["Resources"].as_object().into_iter().flatten();
        let alarms = resources.filter(|(_, resource)| resource["Type"] == ALARM);
        alarms.map(move |(name, alarm)| (path.as_str(), name.as_str(), &alarm["Properties"]))
    })
}

/// Returns the body of the dashboard.
fn dashboard(templates: &Templates) -> String {
    let mut dashboards = templates.of_type("AWS::CloudWatch::Dashboard");
    let (_, dashboard) = dashboards.next().expect("a dashboard");
    assert!(dashboards.next().is_none(), "each dashboard is billed");
    text(&dashboard["DashboardBody"]["!Sub"]).to_owned()
}

#[test]
fn the_dashboard_is_json() {
    let body = dashboard(&Templates::read().expect("templates"));
    let body: Value = serde_json::from_str(&body).expect("JSON");
    let widgets = body["widgets"].as_array().expect("widgets");
    assert!(widgets.len() > 10, "{}", widgets.len());
    for widget in widgets {
        let properties = &widget["properties"];
        // Without it, the console asks CloudWatch in a region of its own choice.
        assert_eq!(properties["region"], "${AWS::Region}", "{}", properties["title"]);
        assert!(properties["metrics"].as_array().is_some_and(|metrics| !metrics.is_empty()));
    }
}

#[test]
fn every_metric_of_the_hub_that_is_watched_or_shown_is_written_by_the_code() {
    let templates = Templates::read().expect("templates");
    let code = read("shared/runtime/src/telemetry.rs");
    let mut names = BTreeSet::new();
    for (path, alarm, properties) in alarms(&templates) {
        watched(properties, &mut |namespace, name| {
            if namespace == "Switchboard" {
                names.insert((format!("{path}: {alarm}"), name.to_owned()));
            }
        });
    }
    let body = dashboard(&templates).replace('\\', "");
    for (before, end) in [("{Switchboard,Part} MetricName=\"", '"'), ("[\"Switchboard\", \"", '"')]
    {
        for part in body.split(before).skip(1) {
            let name = part.split(end).next().unwrap_or_default();
            names.insert(("the dashboard".to_owned(), name.to_owned()));
        }
    }
    assert!(names.len() > 15, "{names:?}");
    for (place, name) in names {
        assert!(code.contains(&format!("=> \"{name}\",")), "{place}: no metric {name}");
    }
}

#[test]
fn every_alarm_publishes_to_the_topic_and_is_on_the_page() {
    let templates = Templates::read().expect("templates");
    assert!(templates.stacks.contains_key(ROOT));
    let page = read("infra/README.md");
    let mut count = 0;
    for (path, name, alarm) in alarms(&templates) {
        let id = if name.ends_with("LoopAlarm") { "*LoopAlarm" } else { name };
        assert!(page.contains(&format!("`{id}`")), "infra/README.md does not explain {id}");
        assert_eq!(alarm["AlarmActions"][0]["!Ref"], "AlarmTopic", "{path}: {name}");
        assert_eq!(alarm["TreatMissingData"], "notBreaching", "{path}: {name}");
        count += 1;
    }
    assert!(count > 20, "{count}");
}

#[test]
fn every_alarm_of_one_metric_of_the_hub_watches_a_part_that_the_code_names() {
    let templates = Templates::read().expect("templates");
    let shared = root().join("shared");
    let code: String = sources()
        .into_iter()
        .filter(|path| path.starts_with(&shared))
        .map(|path| std::fs::read_to_string(path).expect("a source"))
        .collect();
    let mut found = 0;
    for (path, alarm, properties) in alarms(&templates) {
        if properties["Namespace"] != "Switchboard" {
            continue;
        }
        let (metric, dimension) = (text(&properties["MetricName"]), &properties["Dimensions"][0]);
        assert_eq!(dimension["Name"], "Part", "{path}: {alarm}: the only dimension");
        let counted = format!("Metric::{metric}, \"{}\"", text(&dimension["Value"]));
        assert!(code.contains(&counted), "{path}: {alarm}: no code counts {counted}");
        found += 1;
    }
    assert!(found >= 6, "{found} alarms");
}
