//! What a run found: a table for a reader, JSON for a program.

use std::{fmt::Write as _, time::Duration};

use serde_json::{Value, json};

use super::{
    harm::Kills,
    judge::{Rule, Verdict},
    outage::{AUTOMATION_DOWN, Outages, PROVIDER_DOWN, Waits},
    proxy::Counts,
    queues::DeadLetter,
    seen::Seen,
};

/// Everything about a run that is worth telling.
pub(crate) struct Run {
    pub(crate) seed: u64,
    pub(crate) load_s: f32,
    pub(crate) drain_s: f32,
    pub(crate) total_s: f32,
    pub(crate) kills: Kills,
    /// How many kills hit a function at work.
    pub(crate) cut_off: usize,
    pub(crate) aws_calls: u64,
    pub(crate) aws_faults: Counts,
    pub(crate) provider_faults: Vec<(String, u64)>,
    /// Calls of `POST /messages` that were not answered with success, by status.
    pub(crate) refusals: Vec<(u16, u64)>,
    pub(crate) redriven: Vec<DeadLetter>,
    /// How often a message was looked at while it travelled.
    pub(crate) looks: u64,
    pub(crate) outages: Outages,
    pub(crate) verdict: Verdict,
}

/// The providers' faults by name.
pub(crate) fn provider_faults(seen: &Seen) -> Vec<(String, u64)> {
    seen.faults
        .iter()
        .map(|((provider, fault), count)| (format!("{provider} {fault}"), *count))
        .collect()
}

const BROKEN: [Rule; 7] =
    [Rule::Lost, Rule::Doubled, Rule::Order, Rule::Fate, Rule::History, Rule::Told, Rule::Walls];

impl Run {
    fn unknown(&self) -> usize {
        self.verdict.statuses.get("unknown").copied().unwrap_or_default()
    }

    /// The table.
    pub(crate) fn table(&self) -> String {
        let mut rows: Vec<(String, String)> = Vec::new();
        let mut row = |name: &str, value: String| rows.push((name.to_owned(), value));
        let verdict = &self.verdict;
        row("messages", (verdict.inbound + verdict.outbound).to_string());
        row("  in", verdict.inbound.to_string());
        row("  out", verdict.outbound.to_string());
        for (status, count) in &verdict.statuses {
            row(&format!("    {status}"), count.to_string());
        }
        row("time", format!("{:.0} s", self.total_s));
        row("  under load", format!("{:.0} s", self.load_s));
        row("  until all was done", format!("{:.0} s", self.drain_s));
        row("kills", self.kills.values().sum::<u64>().to_string());
        row("  in the middle of work", self.cut_off.to_string());
        row("calls to AWS", self.aws_calls.to_string());
        row("  gone wrong", self.aws_faults.values().sum::<u64>().to_string());
        for ((service, kind), count) in &self.aws_faults {
            row(&format!("    {service}, {kind}"), count.to_string());
        }
        let all: u64 = self.provider_faults.iter().map(|(_, count)| count).sum();
        row("providers' faults", all.to_string());
        for (fault, count) in &self.provider_faults {
            row(&format!("    {fault}"), count.to_string());
        }
        let refused: u64 = self.refusals.iter().map(|(_, count)| count).sum();
        row("posts to try again", refused.to_string());
        for (status, count) in &self.refusals {
            let name = if *status == 0 { "no answer".to_owned() } else { status.to_string() };
            row(&format!("    {name}"), count.to_string());
        }
        row("dead letters, redriven", self.redriven.len().to_string());
        row("looks at travelling messages", self.looks.to_string());
        row("unknown outcomes", self.unknown().to_string());
        row("  that the provider took", verdict.unknown_taken.to_string());
        row("refused by a provider, retried", verdict.refused.to_string());
        row("  that the provider took later", verdict.refused_taken.to_string());
        let mut waits = |what: &str, down: Duration, who: &str, waits: &Waits| {
            let seconds = |wait: Option<u64>| {
                wait.map_or_else(
                    || "-".to_owned(),
                    |ms| format!("{}.{} s", ms / 1000, ms % 1000 / 100),
                )
            };
            row(&format!("{what} down for {} s: {who}", down.as_secs()), waits.count().to_string());
            row("  waited, median", seconds(waits.median()));
            row("  waited, longest", seconds(waits.longest()));
        };
        let outages = &self.outages;
        // After the end of the outage, and since the person wrote.
        waits("providers", PROVIDER_DOWN, "messages", &outages.provider);
        waits("automation", AUTOMATION_DOWN, "people", &outages.automation);
        for rule in BROKEN {
            row(&rule.to_string(), verdict.count(rule).to_string());
        }
        row("complaints", verdict.count(Rule::Complaint).to_string());
        let mut table = String::new();
        for (name, value) in rows {
            // Writing to a string cannot fail.
            writeln!(table, "  {name:<34}{value:>9}").unwrap_or_default();
        }
        table
    }

    /// The same for programs.
    pub(crate) fn json(&self) -> Value {
        let faults = self.aws_faults.iter().map(|((service, kind), count)| {
            json!({"service": service.to_string(), "kind": kind.to_string(), "count": count})
        });
        let letters = self.redriven.iter().map(
            |letter| json!({"queue": letter.queue, "reason": letter.reason, "body": letter.body}),
        );
        let findings = self
            .verdict
            .findings
            .iter()
            .map(|finding| json!({"rule": finding.rule.to_string(), "what": finding.what}));
        let broken: serde_json::Map<String, Value> = BROKEN
            .iter()
            .chain([&Rule::Complaint])
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
            "dead_letters": letters.collect::<Vec<_>>(),
            "looks": self.looks,
            "unknown": {"all": self.unknown(), "taken": self.verdict.unknown_taken},
            "refused": {"all": self.verdict.refused, "taken": self.verdict.refused_taken},
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
            judge::Finding,
            weather::{Kind, Service},
        },
        *,
    };

    #[test]
    fn the_table_and_the_json_tell_the_same() {
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
                provider: Waits::of([2100, 300, 900]),
                automation: Waits::of([13_400]),
            },
            verdict: Verdict {
                inbound: 10,
                outbound: 20,
                statuses: [("unknown".to_owned(), 6), ("read".to_owned(), 14)].into(),
                unknown_taken: 5,
                refused: 8,
                refused_taken: 7,
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
        assert_eq!(value("refused by a provider"), "8");
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
