//! Part 6: cost of a million exchanges and of a month, from the counted figures, the templates and
//! `prices.json`.
//!
//! In an exchange, a customer writes, the automation replies, and the receipts of the reply arrive.
//! The monthly cost is that of an idle hub and of a worker that waits for jobs.

use std::{fs, path::Path};

use serde::Deserialize;

use crate::{
    Bench,
    error::{Error, Result},
    figure::{Figure, Unit},
    messages::{FULL, Flows, Needs, flows},
    stats::Runs,
};

/// Contents of `prices.json`.
#[derive(Debug, Deserialize)]
struct Sheet {
    as_of: String,
    prices: Prices,
    assumptions: Assumptions,
}

#[derive(Debug, Deserialize)]
struct Price {
    dollars: f64,
    #[serde(rename = "for")]
    amount: f64,
}

impl Price {
    fn of(&self, amount: f64) -> f64 {
        self.dollars / self.amount * amount
    }
}

#[derive(Debug, Deserialize)]
struct Prices {
    api_request: Price,
    lambda_request: Price,
    lambda_gigabyte_second: Price,
    sqs_fifo_request: Price,
    sqs_standard_request: Price,
    dynamodb_write_unit: Price,
    dynamodb_read_unit: Price,
    s3_put: Price,
    secrets_request: Price,
    log_gigabyte: Price,
    alarm_month: Price,
    dashboard_month: Price,
    metric_month: Price,
    secret_month: Price,
    key_month: Price,
    schedule_run: Price,
}

#[derive(Debug, Deserialize)]
struct Assumptions {
    receipts_an_answer: f64,
    billed_ms: Billed,
    memory_mb: Memory,
    platform_log_bytes_an_invocation: f64,
    access_log_bytes_a_request: f64,
    secrets_requests_an_exchange: f64,
    metrics_an_exchange: f64,
    hours_a_month: f64,
    polls: Polls,
    schedules: Schedules,
    worker: Worker,
}

/// Lambda's polling of an empty queue.
#[derive(Debug, Deserialize)]
struct Polls {
    at_once: f64,
    seconds: f64,
}

/// Resource use of the scheduled functions in a minute, in total.
#[derive(Debug, Deserialize)]
struct Schedules {
    billed_ms: f64,
    reads: f64,
    writes: f64,
}

/// A waiting worker.
#[derive(Debug, Deserialize)]
struct Worker {
    wait_seconds: f64,
    reads_a_wait: f64,
    key_checks_a_minute: f64,
}

#[derive(Debug, Deserialize)]
struct Billed {
    webhook: f64,
    inbound: f64,
    send: f64,
    sender: f64,
    receipts: f64,
    notification: f64,
}

#[derive(Debug, Deserialize)]
struct Memory {
    send: f64,
    others: f64,
}

/// Cost of a million exchanges, with single records and with full batches.
pub(crate) fn measure(bench: &mut Bench) -> Result<Vec<Figure>> {
    let sheet = read(&bench.paths.root.join("tests/bench/prices.json"))?;
    let mut figures = Vec::new();
    for (size, subject) in
        [(1, "an exchange, each record alone"), (FULL, "an exchange, ten a batch")]
    {
        let flows = flows(bench, size)?;
        let mut total = 0.0;
        for (name, dollars) in parts(&sheet, &flows, f64::from(size)) {
            total += dollars;
            figures.push(dollars_a_million(subject, name, dollars));
        }
        figures.push(dollars_a_million(subject, "total", total));
    }
    let deployed = Deployed::read(&bench.paths.root)?;
    for (subject, parts) in [
        ("a hub with nothing to do", idle(&sheet, &deployed).to_vec()),
        ("a worker that waits", worker(&sheet).to_vec()),
        ("a provider with traffic", vec![("custom metrics", traffic(&sheet))]),
    ] {
        let figure =
            |name, dollars| Figure::new(subject, name, Unit::DollarsAMonth, Runs::once(dollars));
        figures.extend(parts.iter().map(|(name, dollars)| figure(*name, *dollars)));
        if parts.len() > 1 {
            figures.push(figure("total", parts.iter().map(|part| part.1).sum()));
        }
    }
    let Sheet { as_of, assumptions, .. } = &sheet;
    bench.note(&format!(
        "An exchange is an inbound message, a reply, {} receipts, and a notification of each but \
         the reply. A hub with little traffic processes single records. Prices of {as_of}; \
         tests/bench/prices.json has the prices, the assumptions, and what is left out.",
        assumptions.receipts_an_answer
    ));
    Ok(figures)
}

fn read(path: &Path) -> Result<Sheet> {
    let text = fs::read_to_string(path).map_err(Error::file(path))?;
    Ok(serde_json::from_str(&text)?)
}

fn dollars_a_million(subject: &str, name: &str, dollars: f64) -> Figure {
    Figure::new(subject, name, Unit::Dollars, Runs::once(dollars * 1e6))
}

/// Cost of an exchange in dollars, by part, with `size` records in a batch.
fn parts(sheet: &Sheet, flows: &Flows, size: f64) -> [(&'static str, f64); 8] {
    let Sheet { prices, assumptions, .. } = sheet;
    let receipts = assumptions.receipts_an_answer;
    let notifications = 1.0 + receipts;
    let sum = |of: fn(&Needs) -> f64| {
        let receipt = of(&flows.receipt) + of(&flows.status);
        of(&flows.inbound) + of(&flows.notification) + of(&flows.outbound) + receipts * receipt
    };
    // The webhooks of the message and of its receipts, and the request to send the reply.
    let requests = 2.0 + receipts;
    let invocations = sum(|needs| needs.invocations);
    let billed = &assumptions.billed_ms;
    let batched = billed.inbound
        + billed.sender
        + receipts * billed.receipts
        + notifications * billed.notification;
    let small = (1.0 + receipts) * billed.webhook + batched / size;
    let seconds_gb = (small * assumptions.memory_mb.others
        + billed.send * assumptions.memory_mb.send)
        / 1000.0
        / 1024.0;
    let bytes = sum(|needs| needs.log)
        + invocations * assumptions.platform_log_bytes_an_invocation
        + requests * assumptions.access_log_bytes_a_request;
    [
        ("HTTP API", prices.api_request.of(requests)),
        ("Lambda, requests", prices.lambda_request.of(invocations)),
        ("Lambda, time", prices.lambda_gigabyte_second.of(seconds_gb)),
        (
            "SQS",
            prices.sqs_fifo_request.of(sum(|needs| needs.fifo))
                + prices.sqs_standard_request.of(sum(|needs| needs.standard)),
        ),
        (
            "DynamoDB",
            prices.dynamodb_write_unit.of(sum(|needs| needs.writes))
                + prices.dynamodb_read_unit.of(sum(|needs| needs.reads)),
        ),
        ("S3", prices.s3_put.of(sum(|needs| needs.objects))),
        ("Secrets Manager", prices.secrets_request.of(assumptions.secrets_requests_an_exchange)),
        ("CloudWatch Logs", prices.log_gigabyte.of(bytes / 1e9)),
    ]
}

/// Resources of a deployment that cost money even if they are not used.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Deployed {
    /// FIFO queues, each with a function as consumer.
    fifo: f64,
    /// Standard queues, each with a function as consumer.
    standard: f64,
    /// Metrics that alarms watch.
    alarms: f64,
    dashboards: f64,
    /// Schedules, each with one run per minute.
    schedules: f64,
    secrets: f64,
    keys: f64,
}

impl Deployed {
    fn read(root: &Path) -> Result<Self> {
        let folder = root.join("infra/stacks");
        let (mut stacks, mut queue, mut table) = (String::new(), String::new(), String::new());
        for entry in fs::read_dir(&folder).map_err(Error::file(&folder))? {
            let path = entry.map_err(Error::file(&folder))?.path();
            let text = fs::read_to_string(&path).map_err(Error::file(&path))?;
            let into = match path.file_name().and_then(|name| name.to_str()) {
                Some("queue.yaml") => &mut queue,
                Some("table.yaml") => &mut table,
                _ => &mut stacks,
            };
            into.push_str(&text);
        }
        let path = root.join("template.yaml");
        let template = fs::read_to_string(&path).map_err(Error::file(&path))?;
        let tables = template.matches("TemplateURL: infra/stacks/table.yaml").count();
        Ok(Self::of(&stacks, &queue, &table.repeat(tables)))
    }

    /// Counts the resources of the stacks by the lines of their type or kind.
    fn of(stacks: &str, queue: &str, tables: &str) -> Self {
        let number = |lines| f64::from(u32::try_from(lines).unwrap_or(u32::MAX));
        let count = |text: &str, line: &str| {
            number(text.lines().filter(|found| found.trim() == line).count())
        };
        // An alarm on an expression is billed for each metric in it, one on a query for each that
        // the query finds: in a hub with nothing to do, none.
        let watched = |text: &str| {
            number(text.lines().filter(|line| line.trim().starts_with("MetricName:")).count())
        };
        let fifo = count(stacks, "Fifo: \"true\"");
        let standard = count(stacks, "Fifo: \"false\"");
        Self {
            fifo,
            standard,
            alarms: watched(stacks) + watched(tables) + (fifo + standard) * watched(queue),
            dashboards: count(stacks, "Type: AWS::CloudWatch::Dashboard"),
            schedules: count(stacks, "ScheduleExpression: rate(1 minute)"),
            secrets: count(stacks, "Type: AWS::SecretsManager::Secret"),
            keys: count(stacks, "Type: AWS::KMS::Key"),
        }
    }
}

/// Monthly cost of an idle hub in dollars, by part.
fn idle(sheet: &Sheet, deployed: &Deployed) -> [(&'static str, f64); 9] {
    let Sheet { prices, assumptions, .. } = sheet;
    let seconds = assumptions.hours_a_month * 3600.0;
    let polls = assumptions.polls.at_once * seconds / assumptions.polls.seconds;
    let minutes = seconds / 60.0;
    let runs = deployed.schedules * minutes;
    let schedules = &assumptions.schedules;
    let gigabyte_seconds =
        runs * schedules.billed_ms / 1000.0 * assumptions.memory_mb.others / 1024.0;
    let bytes = runs * assumptions.platform_log_bytes_an_invocation;
    [
        (
            "SQS, long polls",
            prices.sqs_fifo_request.of(deployed.fifo * polls)
                + prices.sqs_standard_request.of(deployed.standard * polls),
        ),
        ("alarms", prices.alarm_month.of(deployed.alarms)),
        ("dashboard", prices.dashboard_month.of(deployed.dashboards)),
        ("the platform's secret", prices.secret_month.of(deployed.secrets)),
        ("the key of credentials", prices.key_month.of(deployed.keys)),
        (
            "schedules, DynamoDB",
            prices.dynamodb_read_unit.of(minutes * schedules.reads)
                + prices.dynamodb_write_unit.of(minutes * schedules.writes),
        ),
        ("schedules, EventBridge", prices.schedule_run.of(runs)),
        (
            "schedules, Lambda",
            prices.lambda_request.of(runs) + prices.lambda_gigabyte_second.of(gigabyte_seconds),
        ),
        ("schedules, CloudWatch Logs", prices.log_gigabyte.of(bytes / 1e9)),
    ]
}

/// Monthly cost in dollars of a worker that waits for jobs all the time, by part.
fn worker(sheet: &Sheet) -> [(&'static str, f64); 4] {
    let Sheet { prices, assumptions, .. } = sheet;
    let seconds = assumptions.hours_a_month * 3600.0;
    let worker = &assumptions.worker;
    let requests = seconds / worker.wait_seconds;
    let checks = seconds / 60.0 * worker.key_checks_a_minute;
    let invocations = requests + checks;
    let bytes = invocations * assumptions.platform_log_bytes_an_invocation
        + requests * assumptions.access_log_bytes_a_request;
    [
        (
            "Lambda, time",
            prices.lambda_gigabyte_second.of(seconds * assumptions.memory_mb.others / 1024.0),
        ),
        ("DynamoDB", prices.dynamodb_read_unit.of(requests * worker.reads_a_wait + checks)),
        ("requests", prices.api_request.of(requests) + prices.lambda_request.of(invocations)),
        ("CloudWatch Logs", prices.log_gigabyte.of(bytes / 1e9)),
    ]
}

/// Monthly cost in dollars of the metrics of exchanges through one provider.
fn traffic(sheet: &Sheet) -> f64 {
    sheet.prices.metric_month.of(sheet.assumptions.metrics_an_exchange)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sheet() -> Sheet {
        read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("prices.json")).unwrap()
    }

    #[test]
    fn an_exchange_has_five_requests_and_four_notifications() {
        let one = Needs { invocations: 1.0, writes: 1.0, fifo: 1.0, ..Needs::default() };
        let flows =
            Flows { inbound: one, outbound: one, receipt: one, notification: one, status: one };
        let parts = parts(&sheet(), &flows, 1.0);
        let found = |name: &str| parts.iter().find(|part| part.0 == name).unwrap().1 * 1e6;
        let close = |name: &str, dollars: f64| {
            assert!((found(name) - dollars).abs() < 0.01, "{name}: {}", found(name));
        };
        close("HTTP API", 5.0);
        // 1 in, 1 out, 3 receipts, 4 notifications.
        close("Lambda, requests", 9.0 * 0.2);
        close("SQS", 9.0 * 0.5);
        close("DynamoDB", 9.0 * 0.625);
        close("S3", 0.0);
    }

    fn root() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
    }

    #[test]
    fn a_month_without_traffic_costs_polls_alarms_and_schedules() {
        let deployed = Deployed {
            fifo: 8.0,
            standard: 5.0,
            alarms: 34.0,
            dashboards: 1.0,
            schedules: 2.0,
            secrets: 1.0,
            keys: 1.0,
        };
        let parts = idle(&sheet(), &deployed);
        let found = |name: &str| parts.iter().find(|part| part.0 == name).unwrap().1;
        let close = |name: &str, dollars: f64| {
            assert!((found(name) - dollars).abs() < 0.005, "{name}: {}", found(name));
        };
        // 730 h of 5 polls of 20 s are 657,000 requests for each queue.
        close("SQS, long polls", 0.657 * (8.0 * 0.50 + 5.0 * 0.40));
        close("alarms", 3.40);
        close("dashboard", 3.00);
        close("the platform's secret", 0.40);
        close("the key of credentials", 1.00);
        // 2 schedules run 87,600 times.
        close("schedules, EventBridge", 0.0876);
        close("schedules, DynamoDB", 0.0438 * (18.0 * 0.125 + 0.625));
        close("schedules, Lambda", 0.0876 * 0.20 + 87_600.0 * 0.03 / 8.0 * 0.000_013_333_4);
        close("schedules, CloudWatch Logs", 87_600.0 * 700.0 / 1e9 * 0.5);
    }

    #[test]
    fn a_waiting_worker_occupies_a_function_all_month() {
        let parts = worker(&sheet());
        let found = |name: &str| parts.iter().find(|part| part.0 == name).unwrap().1;
        let close = |name: &str, dollars: f64| {
            assert!((found(name) - dollars).abs() < 0.005, "{name}: {}", found(name));
        };
        close("Lambda, time", 2_628_000.0 / 8.0 * 0.000_013_333_4);
        // 131,400 requests, and 43,800 checks of the key.
        close("DynamoDB", (0.1314 * 44.5 + 0.0438) * 0.125);
        close("requests", 0.1314 + 0.1752 * 0.20);
    }

    #[test]
    fn the_resources_of_the_templates_are_counted() {
        let deployed = Deployed::read(&root()).unwrap();
        assert!(deployed.fifo >= 8.0 && deployed.standard >= 5.0, "{deployed:?}");
        assert!(deployed.alarms >= 2.0 * (deployed.fifo + deployed.standard), "{deployed:?}");
        assert!(deployed.schedules >= 2.0 && deployed.secrets >= 1.0, "{deployed:?}");
    }

    #[test]
    fn an_alarm_is_billed_for_each_metric_that_it_watches() {
        let table = "    Type: AWS::CloudWatch::Alarm\n  MetricName: A\n  MetricName: B\n";
        let deployed = Deployed::of("  MetricName: C\n", "", &table.repeat(5));
        assert!((deployed.alarms - 11.0).abs() < f64::EPSILON, "{deployed:?}");
    }

    /// The rows of the tables of a month in `infra/README.md`, as this file computes them.
    fn rows() -> Vec<String> {
        let deployed = Deployed::read(&root()).unwrap();
        let all = [idle(&sheet(), &deployed).to_vec(), worker(&sheet()).to_vec()];
        let mut rows = Vec::new();
        for parts in all {
            let total: f64 = parts.iter().map(|part| part.1).sum();
            rows.extend(parts.iter().map(|(name, dollars)| format!("| {name} | {dollars:.2} |")));
            rows.push(format!("| **Total** | **{total:.2}** |"));
        }
        rows
    }

    #[test]
    fn the_readme_shows_what_a_month_costs() {
        let readme = fs::read_to_string(root().join("infra/README.md")).unwrap();
        let wanted = rows().join("\n");
        let missing: Vec<_> = rows().into_iter().filter(|row| !readme.contains(row)).collect();
        assert!(missing.is_empty(), "infra/README.md lacks {missing:#?}; all rows:\n{wanted}");
    }

    #[test]
    fn waiting_time_is_shared_by_the_records_of_a_batch() {
        let time = |size| parts(&sheet(), &Flows::default(), size)[2].1;
        assert!(time(10.0) < time(1.0) / 4.0);
    }
}
