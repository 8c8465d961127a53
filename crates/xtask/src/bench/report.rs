//! Medians and ratios as a page of Markdown.

use super::{Args, measure::Figures, peers::Tools};
use crate::sh;
use anyhow::ensure;
use std::{fs, path::Path, process::Command};

/// Rounds with more stolen time than this, in percent, say nothing.
const MOST_STEAL: f64 = 3.0;

pub(super) struct Input<'a> {
    pub(super) root: &'a Path,
    pub(super) args: &'a Args,
    pub(super) tools: &'a Tools,
    pub(super) names: &'a [&'a str],
    pub(super) figures: &'a [Vec<Figures>],
    /// Idle, and after the load.
    pub(super) resident_kib: (u64, u64),
    /// Position of the last request in the audit log.
    pub(super) audited: i64,
}

/// The page; its first server is what the others are compared with.
pub(super) fn write(input: &Input<'_>) -> anyhow::Result<String> {
    let mut rows = String::new();
    let mut first = None;
    let mut thrown = 0;
    for (name, all) in input.names.iter().zip(input.figures) {
        let good: Vec<Figures> = all
            .iter()
            .copied()
            .filter(|figures| figures.steal <= MOST_STEAL)
            .collect();
        thrown += all.len() - good.len();
        ensure!(
            !good.is_empty(),
            "the host took too much time away: no round of {name} counts"
        );
        let rate = median(&good, |figures| figures.per_second);
        let p99 = median(&good, |figures| figures.p99_millis);
        let (base_rate, base_p99) = *first.get_or_insert((rate, p99));
        rows.push_str(&format!(
            "| {name} | {rate:.0} | {:.1} | {:.2} | {p99:.2} | {:+.2} | {:.2} |\n",
            median(&good, |figures| figures.cpu_micros),
            median(&good, |figures| figures.p50_millis),
            p99 - base_p99,
            rate / base_rate,
        ));
    }
    let text = |command: &mut Command| sh::output(command).unwrap_or_else(|_| "unknown".to_owned());
    let date = text(Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"]));
    let commit = text(
        Command::new("git")
            .current_dir(input.root)
            .args(["rev-parse", "--short=12", "HEAD"]),
    );
    let kernel = text(Command::new("uname").arg("-r"));
    let rustc = text(Command::new("rustc").current_dir(input.root).arg("--version"));
    let Args {
        rounds,
        seconds,
        connections,
        tokens,
        ..
    } = input.args;
    let (idle, loaded) = (input.resident_kib.0 / 1024, input.resident_kib.1 / 1024);
    Ok(format!(
        "# Benchmarks\n\n\
         Written by `cargo xtask bench`. The same binary moves by a third within hours on a shared machine: only\n\
         the ratios within one run mean anything.\n\n\
         ## The gateway's authenticated path\n\n\
         {date}, commit `{commit}`; {}, Linux {kernel}; {}; {rustc}.\n\n\
         `GET /` with a bearer token through each server to the same backend (nginx, a static answer of two\n\
         bytes). The server has one core, load generator and backend share the other; {connections} connections,\n\
         {tokens} access tokens in turn, {rounds} rounds of {seconds} s in alternation, medians; rounds with more than\n\
         {MOST_STEAL} % steal do not count ({thrown} of them here).\n\n\
         | server | requests/s | CPU µs per request | p50 ms | p99 ms | added p99 ms | × nginx |\n\
         |---|---:|---:|---:|---:|---:|---:|\n{rows}\n\
         - nginx checks nothing. HAProxy verifies signature and expiry of each token anew, and neither decides by\n\
         \x20 policy nor records anything.\n\
         - Chatelaine checks token, grant and policy, has each request on disk in the audit log before it is\n\
         \x20 forwarded (SQLite), and adds the signed assertion. Tokens are warm: each was verified once before.\n\
         \x20 After the run the log held {} events.\n\
         - Its process also runs the whole demo (identity provider, two origins): {idle} MiB resident before the\n\
         \x20 load, {loaded} MiB after it.\n",
        cpu()?,
        input.tools.versions(),
        input.audited,
    ))
}

fn median(figures: &[Figures], field: impl Fn(&Figures) -> f64) -> f64 {
    let mut values: Vec<f64> = figures.iter().map(field).collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        f64::midpoint(values[middle - 1], values[middle])
    }
}

fn cpu() -> anyhow::Result<String> {
    let info = fs::read_to_string("/proc/cpuinfo")?;
    let cores = info.lines().filter(|line| line.starts_with("processor")).count();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .and_then(|rest| rest.split_once(':'))
        .map_or("unknown processor", |(_, model)| model.trim());
    ensure!(cores > 0, "no processor is listed");
    Ok(format!("{cores} × {model}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(per_second: f64) -> Figures {
        Figures {
            per_second,
            cpu_micros: 0.0,
            p50_millis: 0.0,
            p99_millis: 0.0,
            steal: 0.0,
        }
    }

    #[test]
    fn the_median_is_the_middle_or_between_the_two() {
        let odd = [3.0, 1.0, 2.0].map(figures);
        assert!((median(&odd, |one| one.per_second) - 2.0).abs() < f64::EPSILON);
        let even = [4.0, 1.0, 2.0, 3.0].map(figures);
        assert!((median(&even, |one| one.per_second) - 2.5).abs() < f64::EPSILON);
    }
}
