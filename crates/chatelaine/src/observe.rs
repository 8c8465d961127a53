//! Logs and metrics.

use crate::config::{Config, LogFormat};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use std::sync::OnceLock;
use std::time::Duration;
use tracing_subscriber::{EnvFilter, fmt};

/// How often histograms are summed up.
const UPKEEP: Duration = Duration::from_secs(5);

/// These warn of every cookie that is malformed or has ended, which strangers can send as often as they like.
const QUIET: [&str; 2] = ["tower_sessions=error", "tower_sessions_core=error"];

/// Sends logs to standard error, so that standard output stays for what commands print.
pub(crate) fn logs(config: &Config) {
    let builder = fmt()
        .with_env_filter(filter(&config.log))
        .with_writer(std::io::stderr);
    // A second call (tests) keeps the first subscriber.
    let _ = match config.log_format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
}

fn filter(configured: &str) -> EnvFilter {
    let filter = EnvFilter::try_new(configured).unwrap_or_else(|_| EnvFilter::new("info"));
    QUIET.iter().fold(filter, |filter, quiet| match quiet.parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => filter,
    })
}

/// The process's metrics, in Prometheus' text form.
pub(crate) fn metrics() -> anyhow::Result<PrometheusHandle> {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    if let Some(handle) = HANDLE.get() {
        return Ok(handle.clone());
    }
    let buckets = [
        0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
    ];
    let handle = PrometheusBuilder::new()
        .set_buckets(&buckets)?
        .install_recorder()?;
    let upkeep = handle.clone();
    tokio::spawn(async move {
        // Histograms collect every value until somebody sums them up; scrapes may never come.
        let mut tick = tokio::time::interval(UPKEEP);
        loop {
            tick.tick().await;
            upkeep.run_upkeep();
        }
    });
    Ok(HANDLE.get_or_init(|| handle).clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_of_strangers_warn_of_nothing() {
        for configured in ["info", "debug", "no such filter=", "warn,broker=debug"] {
            let filter = filter(configured).to_string();
            for quiet in QUIET {
                assert!(filter.contains(quiet), "{filter}");
            }
        }
    }
}
