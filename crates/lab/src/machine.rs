//! What the figures were measured on: numbers without their machine mean little.

use std::fmt;

use serde::Serialize;

/// Cores and processor of this computer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// Cores this process may use.
    pub cores: usize,
    /// The processor, as the system names it.
    pub processor: String,
}

impl Machine {
    /// This computer.
    pub fn here() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let processor = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| model_name(&text));
        Self { cores, processor: processor.unwrap_or_else(|| std::env::consts::ARCH.to_owned()) }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.cores == 1 { "" } else { "s" };
        write!(out, "{} core{plural}, {}", self.cores, self.processor)
    }
}

fn model_name(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, name)| name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_read_from_the_first_core() {
        let text = "processor : 0\nmodel name\t: Fast CPU @ 2.0GHz\nmodel name\t: Other\n";
        assert_eq!(model_name(text).as_deref(), Some("Fast CPU @ 2.0GHz"));
        assert_eq!(model_name("Hardware : BCM"), None);
    }
}
