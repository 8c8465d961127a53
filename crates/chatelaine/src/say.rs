//! What commands say on standard output. Whoever reads may stop early, as `head` does: then the command ends, quietly.

use std::fmt::Arguments;
use std::io::{self, Write as _};

/// Writes a line, or ends the command: whoever calls it returns an [`anyhow::Result`].
macro_rules! say {
    () => { $crate::say::line(format_args!(""))? };
    ($($text:tt)+) => { $crate::say::line(format_args!($($text)+))? };
}
pub(crate) use say;

pub(crate) fn line(text: Arguments<'_>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// Says why a command failed, unless it is that nobody listens any more.
pub(crate) fn failure(error: &anyhow::Error) {
    let unheard = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    if !error.downcast_ref().is_some_and(unheard) {
        let _ = writeln!(io::stderr(), "chatelaine: {error:#}");
    }
}
