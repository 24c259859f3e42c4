//! Description of the machine that runs the benchmark.

use std::{fs, thread};

use serde_json::{Value, json};

use crate::process;

/// Hardware and software versions.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    processor: String,
    cores: usize,
    kernel: String,
    rustc: String,
    node: String,
    python: String,
    valgrind: String,
}

impl Machine {
    /// Describes this machine.
    pub(crate) fn here() -> Self {
        let version = |program: &str| {
            process::output_of(program, &["--version"]).unwrap_or_else(|| "none".to_owned())
        };
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        Self {
            processor: processor(&info),
            cores: thread::available_parallelism().map_or(1, usize::from),
            kernel: process::output_of("uname", &["-srm"]).unwrap_or_default(),
            rustc: version("rustc"),
            node: version("node"),
            python: version("python3"),
            valgrind: version("valgrind"),
        }
    }

    /// The description in one line.
    pub(crate) fn line(&self) -> String {
        let Self { processor, cores, kernel, rustc, node, python, valgrind } = self;
        format!("{processor}, {cores} cores; {kernel}; {rustc}; Node {node}; {python}; {valgrind}")
    }

    /// The description as JSON.
    pub(crate) fn json(&self) -> Value {
        json!({
            "processor": self.processor, "cores": self.cores, "kernel": self.kernel,
            "rustc": self.rustc, "node": self.node, "python": self.python,
            "valgrind": self.valgrind,
        })
    }
}

fn processor(info: &str) -> String {
    let field = |name: &str| {
        let line = info.lines().find(|line| line.starts_with(name))?;
        line.split_once(':').map(|(_, value)| value.trim().to_owned())
    };
    let name = field("model name").or_else(|| field("CPU part"));
    let Some(name) = name else { return "unknown processor".to_owned() };
    match field("model\t").or_else(|| field("model  ")) {
        Some(model) => format!("{name} (model {model})"),
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_is_named_with_its_model() {
        let info = "processor\t: 0\nmodel\t\t: 207\nmodel name\t: Intel(R) Xeon(R) Processor\n";
        assert_eq!(processor(info), "Intel(R) Xeon(R) Processor (model 207)");
        assert_eq!(processor(""), "unknown processor");
    }
}
