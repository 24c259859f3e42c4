//! The `redrive` command: moves dead letters back to their queue through the hub's API.

use std::{collections::BTreeMap, thread, time::Duration};

use clap::Args;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    error::{Error, Result},
    http::Client,
    hub::Hub,
};

/// Pause before a request is repeated.
const PAUSE: Duration = Duration::from_secs(5);
/// How long the hub hides dead letters after a request that ended early, and some seconds more for
/// SQS to count them.
const HIDDEN: Duration = Duration::from_secs(135);
/// Number of requests in a row that may fail with 503, or move nothing although there is more. One
/// takes 18 seconds, so that by then every dead letter was looked at.
const MAX_IDLE: u32 = 12;

/// Options of `cargo xtask redrive`.
#[derive(Args)]
pub(crate) struct Options {
    /// Queue that the dead letters came from, such as inbound or outbound-whatsapp.
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,
    /// Only dead letters whose reason begins with this text.
    #[arg(long, value_name = "TEXT", requires = "queue")]
    reason: Option<String>,
    /// Only dead letters of this tenant.
    #[arg(long, value_name = "ID", requires = "queue")]
    tenant: Option<String>,
    /// Only the dead letter with this id. Can be given several times.
    #[arg(long, value_name = "ID", requires = "queue")]
    id: Vec<String>,
    /// All dead letters of the queue.
    #[arg(long, requires = "queue", conflicts_with_all = ["reason", "tenant", "id"])]
    all: bool,
    /// Count the dead letters by reason without moving them.
    #[arg(long, requires = "queue")]
    dry_run: bool,
    /// Maximum number to move in a second.
    #[arg(long, value_name = "N", requires = "queue")]
    per_second: Option<u32>,
    /// Base URL of a deployed hub. By default, the hub on this machine.
    #[arg(long, requires = "key")]
    url: Option<String>,
    /// The platform's API key of the deployed hub.
    #[arg(long, requires = "url")]
    key: Option<String>,
}

impl Options {
    /// Returns the request. `None` without a queue.
    fn request(&self) -> Result<Option<Value>> {
        let Some(queue) = &self.queue else { return Ok(None) };
        let has_filter = self.reason.is_some() || self.tenant.is_some() || !self.id.is_empty();
        if !has_filter && !self.all && !self.dry_run {
            return Err(failed("say which dead letters: --reason, --tenant, --id or --all"));
        }
        let mut request = Map::new();
        request.insert("queue".to_owned(), queue.as_str().into());
        request.insert("dry_run".to_owned(), self.dry_run.into());
        let ids = Some(&self.id).filter(|ids| !ids.is_empty()).map(|ids| json!(ids));
        let reason = self.reason.as_ref().map(|reason| json!(reason));
        let tenant = self.tenant.as_ref().map(|tenant| json!(tenant));
        let rate = self.per_second.map(|rate| json!(rate));
        let optional = [("reason", reason), ("tenant", tenant), ("ids", ids), ("per_second", rate)];
        for (name, value) in optional {
            request.extend(value.map(|value| (name.to_owned(), value)));
        }
        Ok(Some(request.into()))
    }

    fn client(&self, hub: &Hub) -> Result<Client> {
        match (&self.url, &self.key) {
            (Some(url), Some(key)) if url.starts_with("https://") => {
                Ok(Client::of_deployed(url, key.clone()))
            }
            (Some(url), Some(key)) => Ok(Client::new(url.trim_end_matches('/'), Some(key.clone()))),
            _ if hub.is_running() => Ok(Client::new(hub.url(), Some(hub.admin_key()?))),
            _ => Err(Error::NotRunning(hub.folder().to_owned())),
        }
    }
}

fn failed(detail: impl Into<String>) -> Error {
    Error::step("redrive", detail)
}

/// The hub's answer to a request to redrive.
#[derive(Debug, Default, Deserialize)]
struct Answer {
    examined: u64,
    matched: u64,
    moved: u64,
    reasons: BTreeMap<String, u64>,
    blocked_groups: u64,
    hidden: u64,
    before: Option<String>,
    more: bool,
}

/// Redrives dead letters until none that match is left, or shows how many there are.
pub(crate) fn run(hub: &Hub, options: &Options) -> Result<()> {
    let request = options.request()?;
    let client = options.client(hub)?;
    let Some(mut request) = request else { return show_counts(&client) };
    let total = redrive(options.dry_run, &mut |pause, before| {
        thread::sleep(pause);
        if let (Some(before), Some(request)) = (before, request.as_object_mut()) {
            request.insert("before".to_owned(), before.into());
        }
        let answer = send(&client, "POST", "/dead-letters/redrive", Some(&request))?;
        serde_json::from_value(answer).map_err(|_| failed("the hub's answer has another format"))
    })?;
    print_result(options, &total);
    Ok(())
}

/// Sends a request after a pause. Repeated ones name the time of the first, so that dead letters that
/// fail again are not moved again.
type Call<'a> = &'a mut dyn FnMut(Duration, Option<&str>) -> Result<Answer>;

/// Repeats a request until nothing is left. Returns the sums of all answers.
fn redrive(dry_run: bool, call: Call<'_>) -> Result<Answer> {
    let (mut total, mut idle, mut waited) = (Answer::default(), 0, Duration::ZERO);
    let mut pause = Duration::ZERO;
    loop {
        let answer = call(pause, total.before.as_deref())?;
        total.examined += answer.examined;
        total.matched += answer.matched;
        total.moved += answer.moved;
        for (reason, count) in answer.reasons {
            *total.reasons.entry(reason).or_default() += count;
        }
        (total.blocked_groups, total.hidden) = (answer.blocked_groups, answer.hidden);
        total.before = total.before.or(answer.before);
        pause = Duration::ZERO;
        if answer.more {
            let count = if dry_run { total.matched } else { total.moved };
            let done = if dry_run { "match" } else { "moved" };
            println!("  {count} {done}, {} looked at", total.examined);
            idle = if answer.moved > 0 { 0 } else { idle + 1 };
            if idle >= MAX_IDLE {
                return Err(failed(format!(
                    "{MAX_IDLE} requests in a row moved nothing. Name the dead letters by --id"
                )));
            }
        } else if dry_run || answer.hidden == 0 || waited >= HIDDEN {
            return Ok(total);
        } else {
            if waited.is_zero() {
                println!("  {} are hidden by an earlier request. Waiting ...", answer.hidden);
            }
            pause = PAUSE;
            waited += PAUSE;
        }
    }
}

fn print_result(options: &Options, total: &Answer) {
    for (reason, count) in &total.reasons {
        println!("  {count:>6}  {reason}");
    }
    let queue = options.queue.as_deref().unwrap_or_default();
    if options.dry_run {
        println!("{} of {} dead letters of {queue} match.", total.matched, total.examined);
    } else {
        println!("Moved {} dead letters back to {queue}.", total.moved);
    }
    if total.blocked_groups > 0 {
        println!(
            "{} conversations have more dead letters behind ten that do not match. Redrive those \
             ten first, such as by --all.",
            total.blocked_groups
        );
    }
    if total.hidden > 0 && !options.dry_run {
        println!("{} may still be hidden. Run the command again in two minutes.", total.hidden);
    }
}

/// Prints the queues that have dead letters.
fn show_counts(client: &Client) -> Result<()> {
    #[derive(Deserialize)]
    struct Counts {
        queues: Vec<Count>,
    }
    #[derive(Deserialize)]
    struct Count {
        queue: String,
        dead_letters: u64,
    }
    let answer = send(client, "GET", "/dead-letters", None)?;
    let Counts { mut queues } = serde_json::from_value(answer)
        .map_err(|_| failed("the hub's answer has another format"))?;
    queues.retain(|queue| queue.dead_letters > 0);
    if queues.is_empty() {
        println!("No queue has dead letters.");
        return Ok(());
    }
    println!("{:20}  DEAD LETTERS", "QUEUE");
    for Count { queue, dead_letters } in &queues {
        println!("{queue:20}  {dead_letters:>12}");
    }
    println!("\nShow the reasons: cargo xtask redrive --queue QUEUE --dry-run");
    Ok(())
}

/// Sends a request, again if the hub asks for it.
fn send(client: &Client, method: &'static str, path: &str, body: Option<&Value>) -> Result<Value> {
    let mut failures = 0;
    loop {
        match client.send(method, path, body)? {
            (200, answer) => return Ok(answer),
            (503, _) if failures < MAX_IDLE => {
                failures += 1;
                thread::sleep(PAUSE);
            }
            (status, answer) => return Err(failed(refusal(status, &answer))),
        }
    }
}

/// Says why the hub refused a request, and what to do.
fn refusal(status: u16, answer: &Value) -> String {
    let text = |name: &str| answer.get(name).and_then(Value::as_str);
    match status {
        401 | 403 => format!("the hub refused the key ({status}): use the platform's API key"),
        404 => "the hub has no dead-letter API (404): check the URL, or update the hub".to_owned(),
        _ => {
            let field = text("field").map(|field| format!("{field}: ")).unwrap_or_default();
            let detail = text("detail").or_else(|| text("message")).unwrap_or("no reason given");
            format!("{field}{detail} ({status})")
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn options(line: &[&str]) -> std::result::Result<Options, clap::Error> {
        let line = std::iter::once("redrive").chain(line.iter().copied());
        Line::try_parse_from(line).map(|line| line.options)
    }

    fn request(line: &[&str]) -> Result<Option<Value>> {
        options(line).unwrap().request()
    }

    #[test]
    fn a_queue_alone_is_not_redriven() {
        assert!(request(&["--queue", "inbound"]).is_err());
        assert!(request(&[]).unwrap().is_none());
        let all = request(&["--queue", "inbound", "--all"]).unwrap();
        assert_eq!(all, Some(json!({ "queue": "inbound", "dry_run": false })));
        let dry = request(&["--queue", "inbound", "--dry-run"]).unwrap();
        assert_eq!(dry, Some(json!({ "queue": "inbound", "dry_run": true })));
    }

    #[test]
    fn the_request_has_the_conditions_of_the_command_line() {
        let line = ["--queue", "media", "--reason", "refused", "--tenant", "acme", "--id", "1"];
        let line = [&line[..], &["--id", "2", "--per-second", "5"]].concat();
        let expected = json!({ "queue": "media", "reason": "refused", "tenant": "acme",
            "ids": ["1", "2"], "per_second": 5, "dry_run": false });
        assert_eq!(request(&line).unwrap(), Some(expected));
        for line in [
            &["--reason", "refused"][..],
            &["--queue", "media", "--all", "--tenant", "acme"],
            &["--url", "https://hub.example.com"],
        ] {
            assert!(options(line).is_err(), "{line:?}");
        }
    }

    fn answers(answers: Vec<Answer>) -> (Result<Answer>, usize) {
        let mut left = answers.into_iter();
        let mut calls = 0;
        let total = redrive(false, &mut |_pause, _before| {
            calls += 1;
            Ok(left.next().unwrap_or_default())
        });
        (total, calls)
    }

    #[test]
    fn requests_are_repeated_until_nothing_is_left_or_hidden() {
        let more = Answer { moved: 5, more: true, ..Answer::default() };
        let hidden = Answer { moved: 1, hidden: 2, ..Answer::default() };
        let last = Answer { moved: 2, ..Answer::default() };
        let (total, calls) = answers(vec![more, hidden, last]);
        assert_eq!((total.unwrap().moved, calls), (8, 3));
        // What stays hidden belongs to another command.
        let hidden = || Answer { hidden: 2, ..Answer::default() };
        let (total, calls) = answers((0..100).map(|_| hidden()).collect());
        assert_eq!((total.unwrap().hidden, calls), (2, 28));
        // Nothing matches among very many.
        let more = || Answer { more: true, ..Answer::default() };
        let (total, calls) = answers((0..100).map(|_| more()).collect());
        assert!(total.is_err() && calls == 12);
    }

    #[test]
    fn an_error_says_what_to_do() {
        assert!(refusal(403, &json!({ "message": "Forbidden" })).contains("platform's API key"));
        let problem = json!({ "field": "queue", "detail": "must be one of: inbound" });
        assert_eq!(refusal(422, &problem), "queue: must be one of: inbound (422)");
    }
}
