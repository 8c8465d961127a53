//! What a command has around it: streams, environment, whether people look on. Tests bring their own.

use crate::failure::{Failure, Outcome};
use std::collections::HashMap;
use std::io::{IsTerminal as _, Read, Write};
use std::path::{Path, PathBuf};

/// Streams and environment of a command.
pub struct Surroundings {
    /// Where results go.
    pub out: Box<dyn Write + Send>,
    /// Where everything else that is said goes.
    pub err: Box<dyn Write + Send>,
    /// What `-f -` and questions read.
    pub input: Box<dyn Read + Send>,
    /// The environment variables.
    pub env: HashMap<String, String>,
    /// Whether somebody can answer questions.
    pub asks: bool,
    /// Whether results are looked at rather than read by a program.
    pub shows: bool,
}

impl Surroundings {
    /// Those of this process.
    #[must_use]
    pub fn process() -> Self {
        let terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        Self {
            out: Box::new(std::io::stdout()),
            err: Box::new(std::io::stderr()),
            input: Box::new(std::io::stdin()),
            env: std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .collect(),
            asks: terminal,
            shows: std::io::stdout().is_terminal(),
        }
    }

    /// Writes a result.
    pub(crate) fn print(&mut self, text: impl AsRef<str>) -> Outcome {
        let written = self.out.write_all(text.as_ref().as_bytes());
        match written.and_then(|()| self.out.flush()) {
            // Whoever reads has read enough, as `head` does.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(Failure::error("")),
            other => Ok(other?),
        }
    }

    /// Says something beside the result.
    pub(crate) fn note(&mut self, text: impl AsRef<str>) {
        let _ = writeln!(self.err, "{}", text.as_ref());
    }

    /// An environment variable that says something.
    pub(crate) fn var(&self, name: &str) -> Option<&str> {
        self.env.get(name).map(String::as_str).filter(|v| !v.is_empty())
    }

    /// Whether results are coloured.
    pub(crate) fn colours(&self) -> bool {
        self.shows && self.var("NO_COLOR").is_none() && self.var("TERM") != Some("dumb")
    }

    /// Everything on standard input.
    pub(crate) fn read_all(&mut self) -> Outcome<String> {
        let mut text = String::new();
        self.input.read_to_string(&mut text)?;
        Ok(text)
    }

    /// One line of an answer.
    pub(crate) fn ask(&mut self, question: &str) -> Outcome<String> {
        write!(self.err, "{question}")?;
        self.err.flush()?;
        let (mut line, mut byte) = (Vec::new(), [0]);
        while self.input.read(&mut byte)? == 1 && byte[0] != b'\n' {
            line.push(byte[0]);
        }
        Ok(String::from_utf8_lossy(&line).trim().to_owned())
    }

    /// One line that is not shown while it is typed.
    pub(crate) fn ask_secret(&mut self, question: &str) -> Outcome<String> {
        let text = rpassword::prompt_password(question)?;
        Ok(text.trim().to_owned())
    }

    /// Text of a file, or of standard input for `-`.
    pub(crate) fn read_file(&mut self, path: &Path) -> Outcome<String> {
        if path == Path::new("-") {
            return self.read_all();
        }
        std::fs::read_to_string(path)
            .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))
    }

    /// The folder for what the command line remembers.
    pub(crate) fn config_folder(&self) -> Outcome<PathBuf> {
        let base = match (self.var("XDG_CONFIG_HOME"), self.var("HOME")) {
            (Some(folder), _) if Path::new(folder).is_absolute() => PathBuf::from(folder),
            (_, Some(home)) => Path::new(home).join(".config"),
            _ => return Err(Failure::error("neither XDG_CONFIG_HOME nor HOME is set")),
        };
        Ok(base.join("chatelaine"))
    }
}

/// Writes a file that only its owner can read. `replace` puts it in the place of another, at once and whole.
pub(crate) fn write_private(path: &Path, text: &str, replace: bool) -> Outcome {
    use std::os::unix::fs::OpenOptionsExt as _;
    let failed = |error: std::io::Error| Failure::error(format!("cannot write {}: {error}", path.display()));
    let target = if replace {
        path.with_extension(format!("new-{}", std::process::id()))
    } else {
        path.to_owned()
    };
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(&target);
    let mut file = file.map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    if replace {
        std::fs::rename(&target, path).map_err(failed)?;
    }
    Ok(())
}
