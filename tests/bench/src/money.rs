//! Part 6: what a million exchanges cost, from what was counted and from `prices.json`.
//!
//! An exchange: a person writes, the automation answers, the answer's receipts come.

use std::{fs, path::Path};

use serde::Deserialize;

use crate::{
    Bench,
    error::{Error, Result},
    figure::{Figure, Unit},
    messages::{FULL, Needs, Ways, ways},
    stats::Runs,
};

/// What `prices.json` says.
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
    trace: Price,
}

#[derive(Debug, Deserialize)]
struct Assumptions {
    receipts_an_answer: f64,
    billed_ms: Billed,
    memory_mb: Memory,
    platform_log_bytes_an_invocation: f64,
    access_log_bytes_a_request: f64,
    traces_sampled: f64,
    secrets_requests_an_exchange: f64,
}

#[derive(Debug, Deserialize)]
struct Billed {
    webhook: f64,
    inbound: f64,
    send: f64,
    sender: f64,
    receipts: f64,
    notice: f64,
}

#[derive(Debug, Deserialize)]
struct Memory {
    send: f64,
    others: f64,
}

/// A million exchanges, record by record and in full batches.
pub(crate) fn measure(bench: &mut Bench) -> Result<Vec<Figure>> {
    let sheet = read(&bench.places.root.join("tests/bench/prices.json"))?;
    let mut figures = Vec::new();
    for (size, subject) in
        [(1, "an exchange, each record alone"), (FULL, "an exchange, ten a batch")]
    {
        let ways = ways(bench, size)?;
        let mut total = 0.0;
        for (name, dollars) in parts(&sheet, &ways, f64::from(size)) {
            total += dollars;
            figures.push(dollars_a_million(subject, name, dollars));
        }
        figures.push(dollars_a_million(subject, "total", total));
    }
    let Sheet { as_of, assumptions, .. } = &sheet;
    bench.note(&format!(
        "An exchange is a message in, an answer, {} receipts and a notice of each but the \
         answer. Prices of {as_of}; tests/bench/prices.json says them and what is assumed.",
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

/// Dollars an exchange, by part; `size` records a batch.
fn parts(sheet: &Sheet, ways: &Ways, size: f64) -> [(&'static str, f64); 9] {
    let Sheet { prices, assumptions, .. } = sheet;
    let receipts = assumptions.receipts_an_answer;
    let notices = 1.0 + receipts;
    let sum = |of: fn(&Needs) -> f64| {
        let receipt = of(&ways.receipt) + of(&ways.status);
        of(&ways.inbound) + of(&ways.notice) + of(&ways.outbound) + receipts * receipt
    };
    // The webhooks of the message and of its receipts, and the request to send.
    let requests = 2.0 + receipts;
    let invocations = sum(|needs| needs.invocations);
    let billed = &assumptions.billed_ms;
    let batched =
        billed.inbound + billed.sender + receipts * billed.receipts + notices * billed.notice;
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
        ("X-Ray", prices.trace.of(invocations * assumptions.traces_sampled)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sheet() -> Sheet {
        read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("prices.json")).unwrap()
    }

    #[test]
    fn an_exchange_has_five_requests_and_four_notices() {
        let one = Needs { invocations: 1.0, writes: 1.0, fifo: 1.0, ..Needs::default() };
        let ways = Ways { inbound: one, outbound: one, receipt: one, notice: one, status: one };
        let parts = parts(&sheet(), &ways, 1.0);
        let found = |name: &str| parts.iter().find(|part| part.0 == name).unwrap().1 * 1e6;
        let close = |name: &str, dollars: f64| {
            assert!((found(name) - dollars).abs() < 0.01, "{name}: {}", found(name));
        };
        close("HTTP API", 5.0);
        // 1 in, 1 out, 3 receipts, 4 notices.
        close("Lambda, requests", 9.0 * 0.2);
        close("SQS", 9.0 * 0.5);
        close("DynamoDB", 9.0 * 0.625);
        close("S3", 0.0);
    }

    #[test]
    fn waiting_is_shared_by_the_records_of_a_batch() {
        let time = |size| parts(&sheet(), &Ways::default(), size)[2].1;
        assert!(time(10.0) < time(1.0) / 4.0);
    }
}
