//! Report of a run: a table for the terminal and JSON for programs.

use std::{fmt::Write as _, time::Duration};

use serde_json::{Value, json};

use super::{
    judge::{Rule, Verdict},
    observations::Observations,
    outage::{AUTOMATION_DOWN, Delays, Outages, PROVIDER_DOWN},
    process_faults::Kills,
    proxy::Counts,
    queues::DeadLetter,
};

/// Results of a run.
pub(crate) struct Run {
    pub(crate) seed: u64,
    pub(crate) load_s: f32,
    pub(crate) drain_s: f32,
    pub(crate) total_s: f32,
    pub(crate) kills: Kills,
    /// Number of kills that hit a running invocation.
    pub(crate) cut_off: usize,
    pub(crate) aws_calls: u64,
    pub(crate) aws_faults: Counts,
    pub(crate) provider_faults: Vec<(String, u64)>,
    /// Calls of `POST /messages` without a success response, by status.
    pub(crate) refusals: Vec<(u16, u64)>,
    pub(crate) redriven: Vec<DeadLetter>,
    /// Number of times a message was polled during the run.
    pub(crate) looks: u64,
    pub(crate) outages: Outages,
    pub(crate) verdict: Verdict,
}

/// Counts of the provider faults by name.
pub(crate) fn provider_faults(seen: &Observations) -> Vec<(String, u64)> {
    seen.faults
        .iter()
        .map(|((provider, fault), count)| (format!("{provider} {fault}"), *count))
        .collect()
}

const BROKEN: [Rule; 7] = [
    Rule::Lost,
    Rule::Doubled,
    Rule::Order,
    Rule::Status,
    Rule::History,
    Rule::Notified,
    Rule::TenantIsolation,
];

impl Run {
    fn unknown(&self) -> usize {
        self.verdict.statuses.get("unknown").copied().unwrap_or_default()
    }

    /// Formats the table.
    pub(crate) fn table(&self) -> String {
        let mut rows: Vec<(String, String)> = Vec::new();
        let mut row = |name: &str, value: String| rows.push((name.to_owned(), value));
        let verdict = &self.verdict;
        row("messages", (verdict.inbound + verdict.outbound).to_string());
        row("  inbound", verdict.inbound.to_string());
        row("  outbound", verdict.outbound.to_string());
        for (status, count) in &verdict.statuses {
            row(&format!("    {status}"), count.to_string());
        }
        row("time", format!("{:.0} s", self.total_s));
        row("  under load", format!("{:.0} s", self.load_s));
        row("  until the queues drained", format!("{:.0} s", self.drain_s));
        row("kills", self.kills.values().sum::<u64>().to_string());
        row("  during an invocation", self.cut_off.to_string());
        row("AWS calls", self.aws_calls.to_string());
        row("  failed", self.aws_faults.values().sum::<u64>().to_string());
        for ((service, kind), count) in &self.aws_faults {
            row(&format!("    {service}, {kind}"), count.to_string());
        }
        let all: u64 = self.provider_faults.iter().map(|(_, count)| count).sum();
        row("provider faults", all.to_string());
        for (fault, count) in &self.provider_faults {
            row(&format!("    {fault}"), count.to_string());
        }
        let refused: u64 = self.refusals.iter().map(|(_, count)| count).sum();
        row("POST /messages without success", refused.to_string());
        for (status, count) in &self.refusals {
            let name = if *status == 0 { "no response".to_owned() } else { status.to_string() };
            row(&format!("    {name}"), count.to_string());
        }
        row("dead letters, redriven", self.redriven.len().to_string());
        row("message polls", self.looks.to_string());
        row("unknown outcomes", self.unknown().to_string());
        row("  accepted by the provider", verdict.unknown_accepted.to_string());
        row("rejected by a provider, retried", verdict.refused.to_string());
        row("  accepted by the provider later", verdict.refused_accepted.to_string());
        let mut delays = |what: &str, down: Duration, who: &str, delays: &Delays| {
            let seconds = |wait: Option<u64>| {
                wait.map_or_else(
                    || "-".to_owned(),
                    |ms| format!("{}.{} s", ms / 1000, ms % 1000 / 100),
                )
            };
            row(
                &format!("{what} down for {} s: {who}", down.as_secs()),
                delays.count().to_string(),
            );
            row("  delay, median", seconds(delays.median()));
            row("  delay, longest", seconds(delays.longest()));
        };
        let outages = &self.outages;
        // Provider: from the end of the outage. Automation: from the customer's message.
        delays("providers", PROVIDER_DOWN, "messages", &outages.provider);
        delays("automation", AUTOMATION_DOWN, "customers", &outages.automation);
        for rule in BROKEN {
            row(&rule.to_string(), verdict.count(rule).to_string());
        }
        row(&Rule::Other.to_string(), verdict.count(Rule::Other).to_string());
        let mut table = String::new();
        for (name, value) in rows {
            // Writing to a string cannot fail.
            writeln!(table, "  {name:<34}{value:>9}").unwrap_or_default();
        }
        table
    }

    /// The report as JSON.
    pub(crate) fn json(&self) -> Value {
        let faults = self.aws_faults.iter().map(|((service, kind), count)| {
            json!({"service": service.to_string(), "kind": kind.to_string(), "count": count})
        });
        let dead_letters = self.redriven.iter().map(
            |record| json!({"queue": record.queue, "reason": record.reason, "body": record.body}),
        );
        let findings = self
            .verdict
            .findings
            .iter()
            .map(|finding| json!({"rule": finding.rule.to_string(), "what": finding.what}));
        let broken: serde_json::Map<String, Value> = BROKEN
            .iter()
            .chain([&Rule::Other])
            .map(|rule| (rule.to_string(), self.verdict.count(*rule).into()))
            .collect();
        json!({
            "seed": self.seed,
            "inbound": self.verdict.inbound,
            "outbound": self.verdict.outbound,
            "statuses": self.verdict.statuses,
            "seconds": {"load": self.load_s, "drain": self.drain_s, "total": self.total_s},
            "kills": self.kills,
            "kills_at_work": self.cut_off,
            "aws_calls": self.aws_calls,
            "aws_faults": faults.collect::<Vec<_>>(),
            "provider_faults": self.provider_faults,
            "refused_posts": self.refusals,
            "dead_letters": dead_letters.collect::<Vec<_>>(),
            "looks": self.looks,
            "unknown": {"all": self.unknown(), "taken": self.verdict.unknown_accepted},
            "refused": {"all": self.verdict.refused, "taken": self.verdict.refused_accepted},
            "outages": {
                "provider": self.outages.provider.json(PROVIDER_DOWN),
                "automation": self.outages.automation.json(AUTOMATION_DOWN),
            },
            "broken": broken,
            "findings": findings.collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            aws_faults::{Kind, Service},
            judge::Finding,
        },
        *,
    };

    #[test]
    fn the_table_and_the_json_agree() {
        let finding = Finding { rule: Rule::Lost, what: "msg_1".to_owned() };
        let run = Run {
            seed: 1,
            load_s: 1.0,
            drain_s: 2.0,
            total_s: 3.0,
            kills: [("switchboard-sender-telegram".to_owned(), 4)].into(),
            cut_off: 2,
            aws_calls: 100,
            aws_faults: [((Service::Sqs, Kind::Slow), 7)].into(),
            provider_faults: vec![("telegram drop".to_owned(), 3)],
            refusals: vec![(0, 1), (503, 5)],
            redriven: Vec::new(),
            looks: 9,
            outages: Outages {
                provider: Delays::of([2100, 300, 900]),
                automation: Delays::of([13_400]),
            },
            verdict: Verdict {
                inbound: 10,
                outbound: 20,
                statuses: [("unknown".to_owned(), 6), ("read".to_owned(), 14)].into(),
                unknown_accepted: 5,
                refused: 8,
                refused_accepted: 7,
                findings: vec![finding],
            },
        };
        let table = run.table();
        let value = |name: &str| {
            let mut lines = table.lines().filter(|line| line.trim_start().starts_with(name));
            lines.next().unwrap().split_whitespace().last().unwrap().to_owned()
        };
        assert_eq!(value("messages"), "30");
        assert_eq!(value("SQS, slow"), "7");
        assert_eq!(value("unknown outcomes"), "6");
        assert_eq!(value("lost"), "1");
        assert_eq!(value("rejected by a provider"), "8");
        assert_eq!(value("providers down for 10 s"), "3");
        assert!(table.contains("0.9 s") && table.contains("2.1 s") && table.contains("13.4 s"));
        let json = run.json();
        assert_eq!(json["broken"]["lost"], 1);
        assert_eq!(json["unknown"]["taken"], 5);
        assert_eq!((&json["refused"]["all"], &json["refused"]["taken"]), (&8.into(), &7.into()));
        assert_eq!(json["outages"]["provider"]["longest_ms"], 2100);
        assert_eq!(json["outages"]["automation"]["down_s"], 12);
        assert_eq!(json["kills"]["switchboard-sender-telegram"], 4);
        assert_eq!(json["findings"][0]["what"], "msg_1");
    }
}
