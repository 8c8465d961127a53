//! One measurement: load by wrk, and what the server's processes used of the processor meanwhile.

use super::{
    Subject,
    peers::{LOAD_CORE, Tools},
};
use crate::sh;
use anyhow::{Context as _, ensure};
use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// What one measurement yields.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figures {
    pub(super) per_second: f64,
    pub(super) cpu_micros: f64,
    pub(super) p50_millis: f64,
    pub(super) p99_millis: f64,
    /// Time that the host took from this machine, in percent.
    pub(super) steal: f64,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.0} requests/s, {:.1} µs CPU each, p50 {:.2} ms, p99 {:.2} ms, {:.1} % steal",
            self.per_second, self.cpu_micros, self.p50_millis, self.p99_millis, self.steal
        )
    }
}

/// The load generator, ready to run.
pub(super) struct Load {
    wrk: PathBuf,
    script: PathBuf,
    connections: u32,
    ticks_per_second: f64,
}

impl Load {
    /// Writes the script that sends each of `tokens` in turn.
    pub(super) fn prepare(
        tools: &Tools,
        folder: &Path,
        tokens: &[String],
        connections: u32,
    ) -> anyhow::Result<Self> {
        let list = folder.join("tokens");
        fs::write(&list, tokens.join("\n"))?;
        let script = folder.join("load.lua");
        // Requests are formatted once, so that the generator costs the same for every server.
        fs::write(
            &script,
            format!(
                "local ready, at = {{}}, 0\n\
                 function init(args)\n\
                 \x20 for token in io.lines({:?}) do\n\
                 \x20   ready[#ready + 1] = wrk.format('GET', nil, {{['Authorization'] = 'Bearer ' .. token, ['Host'] = wrk.headers['Host']}})\n\
                 \x20 end\n\
                 end\n\
                 function request()\n  at = at % #ready + 1\n  return ready[at]\nend\n",
                list.display().to_string()
            ),
        )?;
        let ticks_per_second = sh::output(Command::new("getconf").arg("CLK_TCK"))?.parse()?;
        Ok(Self {
            wrk: tools.wrk.clone(),
            script,
            connections,
            ticks_per_second,
        })
    }

    pub(super) fn run(&self, subject: &Subject, seconds: u32) -> anyhow::Result<Figures> {
        let before = (ticks(subject.pid)?, host()?);
        let text = sh::output(
            Command::new("taskset")
                .args(["-c", LOAD_CORE])
                .arg(&self.wrk)
                .args([
                    "-t1",
                    "--latency",
                    &format!("-c{}", self.connections),
                    &format!("-d{seconds}s"),
                    "-s",
                ])
                .arg(&self.script)
                .arg(&subject.url),
        )?;
        let after = (ticks(subject.pid)?, host()?);
        ensure!(
            !text.contains("Non-2xx"),
            "{} refuses some requests:\n{text}",
            subject.name
        );
        ensure!(
            !text.contains("Socket errors"),
            "{} drops connections:\n{text}",
            subject.name
        );

        let requests: f64 = text
            .lines()
            .find_map(|line| line.trim().split_once(" requests in "))
            .and_then(|(count, _)| count.parse().ok())
            .with_context(|| format!("cannot read wrk's output:\n{text}"))?;
        let per_second = after_label(&text, "Requests/sec:").and_then(|value| value.parse().ok());
        let percentile = |label: &str| after_label(&text, label).and_then(millis);
        let used = (after.0 - before.0) / self.ticks_per_second;
        let (all, stolen) = (after.1.0 - before.1.0, after.1.1 - before.1.1);
        Ok(Figures {
            per_second: per_second.context("no rate")?,
            cpu_micros: used * 1e6 / requests,
            p50_millis: percentile("50%").context("no median")?,
            p99_millis: percentile("99%").context("no 99th percentile")?,
            steal: if all > 0.0 { stolen * 100.0 / all } else { 0.0 },
        })
    }
}

fn after_label<'a>(text: &'a str, label: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| line.trim().strip_prefix(label))
        .map(str::trim)
}

fn millis(text: &str) -> Option<f64> {
    let (number, factor) = [("us", 0.001), ("ms", 1.0), ("s", 1000.0)]
        .iter()
        .find_map(|(unit, factor)| text.strip_suffix(unit).map(|number| (number, factor)))?;
    Some(number.parse::<f64>().ok()? * factor)
}

/// Processor time of a process and its children so far, in clock ticks.
fn ticks(root: u32) -> anyhow::Result<f64> {
    let mut total = 0.0;
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        // The name in brackets may hold anything; fields are counted after it. See proc(5).
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        let number = |index: usize| {
            fields
                .get(index)
                .and_then(|field| field.parse::<f64>().ok())
                .unwrap_or(0.0)
        };
        let parent = fields.get(1).and_then(|field| field.parse::<u32>().ok());
        if pid == root || parent == Some(root) {
            total += number(11) + number(12);
        }
    }
    ensure!(
        total >= 0.0 && Path::new(&format!("/proc/{root}")).exists(),
        "the server is gone"
    );
    Ok(total)
}

/// All ticks of the machine and those stolen from it.
fn host() -> anyhow::Result<(f64, f64)> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().context("/proc/stat is empty")?;
    let numbers: Vec<f64> = line
        .split_whitespace()
        .skip(1)
        .filter_map(|field| field.parse().ok())
        .collect();
    Ok((
        numbers.iter().take(8).sum(),
        numbers.get(7).copied().unwrap_or(0.0),
    ))
}

/// Resident memory of a process, in KiB.
pub(super) fn resident(pid: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|value| value.trim().trim_end_matches(" kB").parse().ok())
        .context("no VmRSS")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_read_in_every_unit_that_wrk_prints() {
        let cases = [("830.00us", 0.83), ("1.25ms", 1.25), ("2.00s", 2000.0)];
        for (text, expected) in cases {
            assert!((millis(text).unwrap() - expected).abs() < 1e-9, "{text}");
        }
        assert_eq!(millis("fast"), None);
    }

    #[test]
    fn values_are_found_by_their_label() {
        let text =
            "  Latency Distribution\n     50%  716.00us\n     99%    1.20ms\nRequests/sec:  41234.56\n";
        assert_eq!(after_label(text, "99%"), Some("1.20ms"));
        assert_eq!(after_label(text, "Requests/sec:"), Some("41234.56"));
    }

    #[test]
    fn this_process_has_used_memory_and_is_found() {
        assert!(resident(std::process::id()).unwrap() > 0);
        assert!(ticks(std::process::id()).is_ok());
        assert!(ticks(u32::MAX).is_err());
    }
}
