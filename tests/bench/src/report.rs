//! Tables of the figures.

use std::fmt::Write as _;

use crate::figure::{Figure, Goal};

const HEAD: [&str; 8] = ["", "", "runs", "median", "p99", "unit", "goal", ""];

/// Formats all figures as one table. A repeated subject is shown once.
pub(crate) fn table(figures: &[Figure]) -> String {
    let mut rows = vec![HEAD.map(str::to_owned)];
    let mut subject = "";
    for figure in figures {
        let named = if figure.subject == subject { "" } else { figure.subject.as_str() };
        subject = &figure.subject;
        rows.push(row(named, figure));
    }
    let mut widths = [0; 8];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut table = String::new();
    for row in rows {
        let mut line = String::new();
        for (place, (cell, width)) in row.iter().zip(widths).enumerate() {
            // Numbers are aligned to the right.
            let padding = " ".repeat(width - cell.chars().count());
            let (before, after) = if matches!(place, 2..=4) {
                (padding.as_str(), "")
            } else {
                ("", padding.as_str())
            };
            let _written = write!(line, "{before}{cell}{after}  ");
        }
        table.push_str(line.trim_end());
        table.push('\n');
    }
    table
}

/// Method of the measurements, for the page.
const METHOD: &str = "\
`cargo xtask bench --save-figures` wrote this page. The functions are built with the deployed \
profile and run one at a time with a Lambda Runtime API and a fake AWS on loopback.
CPU is the kernel's accounting of the process. Instructions and allocations are counted by \
Valgrind, capacity units and requests by the fake AWS. Times are of this machine, not of AWS.";

/// Formats all figures as a Markdown page.
pub(crate) fn page(
    date: &str,
    machine: &str,
    sections: &[(&str, Vec<Figure>)],
    notes: &[String],
) -> String {
    let mut page = format!("# Figures\n\n{date}. {machine}.\n\n{METHOD}\n");
    for (title, figures) in sections {
        let _written = write!(
            page,
            "\n## {title}\n\n| | | runs | median | p99 | unit | goal | |\n\
             | --- | --- | ---: | ---: | ---: | --- | --- | --- |\n"
        );
        let mut subject = "";
        for figure in figures {
            let named = if figure.subject == subject { "" } else { figure.subject.as_str() };
            subject = &figure.subject;
            let _written = writeln!(page, "| {} |", row(named, figure).join(" | "));
        }
    }
    if !notes.is_empty() {
        page.push_str("\n## Notes\n\n");
    }
    for note in notes {
        let _written = writeln!(page, "- {note}");
    }
    page
}

fn row(subject: &str, figure: &Figure) -> [String; 8] {
    let number = |value: f64| grouped(value, figure.unit.digits());
    let runs = figure.runs.count();
    let p99 = if runs > 1 { number(figure.runs.p99()) } else { String::new() };
    let goal = match figure.goal {
        Some(Goal::AtMost(most)) => format!("at most {}", number(most)),
        Some(Goal::AtLeast(least)) => format!("at least {}", number(least)),
        None => String::new(),
    };
    let verdict = match figure.passes() {
        Some(true) => "ok",
        Some(false) => "MISSED",
        None => "",
    };
    [
        subject.to_owned(),
        figure.name.clone(),
        runs.to_string(),
        number(figure.runs.median()),
        p99,
        figure.unit.name().to_owned(),
        goal,
        verdict.to_owned(),
    ]
}

/// Formats a number with thousands separators.
fn grouped(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let (whole, rest) = text.split_once('.').map_or((text.as_str(), None), |(w, r)| (w, Some(r)));
    let mut grouped = String::new();
    let figures = whole.chars().filter(char::is_ascii_digit).count();
    if figures == 0 {
        return text;
    }
    let mut left = figures;
    for c in whole.chars() {
        if c.is_ascii_digit() && left < figures && left % 3 == 0 {
            grouped.push(',');
        }
        left -= usize::from(c.is_ascii_digit());
        grouped.push(c);
    }
    if let Some(rest) = rest {
        grouped.push('.');
        grouped.push_str(rest);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{figure::Unit, stats::Runs};

    #[test]
    fn columns_are_aligned_and_a_subject_is_shown_once() {
        let figures = [
            Figure::new(
                "webhook",
                "warm",
                Unit::CpuMicroseconds,
                Runs::new(vec![90.0, 101.0, 99.0]),
            )
            .with(Goal::AtMost(100.0)),
            Figure::new("webhook", "work", Unit::Instructions, Runs::once(1_234_567.0)),
            Figure::new("node", "warm", Unit::Times, Runs::once(11.0)).with(Goal::AtLeast(12.0)),
        ];
        let expected = "\
\x20              runs     median    p99  unit          goal
webhook  warm     3       99.0  101.0  µs CPU        at most 100.0   ok
         work     1  1,234,567         instructions
node     warm     1      11.00         x             at least 12.00  MISSED
";
        assert_eq!(table(&figures), expected);
    }

    #[test]
    fn a_page_has_a_table_for_each_part_and_the_notes() {
        let figure = Figure::new("webhook", "work", Unit::Instructions, Runs::once(1234.0));
        let page = page(
            "2026-01-31",
            "A machine",
            &[("Warm", vec![figure.with(Goal::AtMost(2000.0))])],
            &["Known.".to_owned()],
        );
        assert!(page.starts_with("# Figures\n\n2026-01-31. A machine.\n\n`cargo xtask bench"));
        let end = "## Warm\n\n| | | runs | median | p99 | unit | goal | |\n\
            | --- | --- | ---: | ---: | ---: | --- | --- | --- |\n\
            | webhook | work | 1 | 1,234 |  | instructions | at most 2,000 | ok |\n\
            \n## Notes\n\n- Known.\n";
        assert!(page.ends_with(end), "{page}");
    }

    #[test]
    fn thousands_are_separated() {
        for (value, digits, text) in
            [(0.5, 2, "0.50"), (999.0, 0, "999"), (1000.0, 0, "1,000"), (-1234.5, 1, "-1,234.5")]
        {
            assert_eq!(grouped(value, digits), text);
        }
    }
}
