//! The file of a backup: written whole or not at all, and read only as it was written.

use crate::db::raw::Table;
use crate::{Error, Result, Vault};
use aws_lc_rs::{digest, hmac};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, BufWriter, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use wire::{OrgId, Timestamp};

/// The form of the file.
const FORM: u32 = 1;
/// The longest line that is read: a row is a few kilobytes.
const LINE: u64 = 64 * 1024 * 1024;

/// What a backup says of itself, in its first line.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Header {
    #[serde(rename = "chatelaine_backup")]
    form: u32,
    /// The binary that took it.
    pub version: String,
    /// The version of the schema: the last migration.
    pub schema: i64,
    /// From which engine; any can take it back.
    pub engine: String,
    /// When.
    pub taken_at: Timestamp,
    /// Under which master key secrets are sealed in it: what [`Vault::fingerprint`] says. The key itself is not here.
    pub key: String,
    /// How far the change feed was.
    pub changes: i64,
    /// Where each audit log ended.
    pub logs: Vec<LogHead>,
    pub(super) tables: Vec<Table>,
}

/// Where an organisation's log ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogHead {
    /// Whose.
    pub org: OrgId,
    /// The last event.
    pub seq: i64,
    /// Its hash, which covers all before.
    pub hash: String,
    /// The last answer of an origin.
    pub answers: i64,
    /// Its hash.
    pub answers_hash: String,
}

impl Header {
    pub(super) fn new(version: &str, engine: &str, (schema, tables): (i64, Vec<Table>)) -> Self {
        Self {
            form: FORM,
            version: version.to_owned(),
            schema,
            engine: engine.to_owned(),
            taken_at: Timestamp::default(),
            key: String::new(),
            changes: 0,
            logs: Vec::new(),
            tables,
        }
    }
}

/// The last line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Trailer {
    rows: u64,
    /// Of every byte before this line: what is damaged is noticed.
    sha256: String,
    /// The same under a key that follows from the master key: nobody else can write a backup.
    mac: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    table: String,
}

pub(super) enum Line {
    Table(String),
    Row(Vec<Value>),
}

fn damaged(what: &str) -> Error {
    Error::invalid("", format!("the backup is damaged: {what}; nothing was restored"))
}

fn unreadable(error: io::Error) -> Error {
    Error::internal(error)
}

fn mac(vault: &Vault, sum: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(hmac::sign(&vault.mac_key("backup"), sum))
}

/// A backup that is being written, under another name beside its own.
pub(super) struct Writer {
    file: BufWriter<File>,
    sum: digest::Context,
    rows: u64,
    bytes: u64,
    making: PathBuf,
    to: PathBuf,
    done: bool,
}

impl Writer {
    pub(super) fn create(to: &Path) -> Result<Self> {
        if to.symlink_metadata().is_ok() {
            return Err(exists(to));
        }
        let mut name = std::ffi::OsString::from(".");
        name.push(to.file_name().unwrap_or_default());
        name.push(format!(".{}.part", std::process::id()));
        let making = to.with_file_name(name);
        let mut options = OpenOptions::new();
        let file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&making)
            .map_err(|error| cannot_write(to, &error))?;
        Ok(Self {
            file: BufWriter::with_capacity(1 << 16, file),
            sum: digest::Context::new(&digest::SHA256),
            rows: 0,
            bytes: 0,
            making,
            to: to.to_owned(),
            done: false,
        })
    }

    fn line(&mut self, value: &impl Serialize) -> Result<()> {
        let mut line = serde_json::to_vec(value).map_err(Error::internal)?;
        line.push(b'\n');
        self.sum.update(&line);
        self.bytes += line.len() as u64;
        let written = self.file.write_all(&line);
        written.map_err(|error| cannot_write(&self.to, &error))
    }

    pub(super) fn header(&mut self, header: &Header) -> Result<()> {
        self.line(header)
    }

    pub(super) fn table(&mut self, name: &str) -> Result<()> {
        let table = name.to_owned();
        self.line(&Section { table })
    }

    pub(super) fn row(&mut self, values: &[Value]) -> Result<()> {
        self.rows += 1;
        self.line(&values)
    }

    /// Ends the file, and gives it its name. Says how many rows and bytes it has.
    pub(super) fn finish(mut self, vault: &Vault) -> Result<(u64, u64)> {
        let sum = self.sum.clone().finish();
        let trailer = Trailer {
            rows: self.rows,
            sha256: URL_SAFE_NO_PAD.encode(sum.as_ref()),
            mac: mac(vault, sum.as_ref()),
        };
        self.line(&trailer)?;
        self.publish().map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => exists(&self.to),
            _ => cannot_write(&self.to, &error),
        })?;
        Ok((self.rows, self.bytes))
    }

    fn publish(&mut self) -> io::Result<()> {
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        match renameat_with(CWD, &self.making, CWD, &self.to, RenameFlags::NOREPLACE) {
            Ok(()) => {}
            // A file system that cannot do it in one step.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                if self.to.symlink_metadata().is_ok() {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                std::fs::rename(&self.making, &self.to)?;
            }
            Err(error) => return Err(error.into()),
        }
        self.done = true;
        let folder = self.to.parent().filter(|folder| *folder != Path::new(""));
        // A power cut must not take the name away again.
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}

/// What was not finished is taken away.
impl Drop for Writer {
    fn drop(&mut self) {
        if !self.done {
            let _ = std::fs::remove_file(&self.making);
        }
    }
}

fn exists(path: &Path) -> Error {
    Error::invalid(
        "",
        format!("{} is there already, and is not written over", path.display()),
    )
}

fn cannot_write(path: &Path, error: &io::Error) -> Error {
    Error::invalid("", format!("{} cannot be written: {error}", path.display()))
}

/// A backup that is read.
pub(super) struct Reader {
    file: BufReader<File>,
    sum: digest::Context,
    rows: u64,
    next: Vec<u8>,
}

impl Reader {
    /// Opens a backup and reads what it says of itself, which is not proven before [`Reader::check`].
    pub(super) fn open(path: &Path) -> Result<(Self, Header)> {
        let file = File::open(path);
        let file =
            file.map_err(|error| Error::invalid("", format!("{} cannot be read: {error}", path.display())))?;
        let mut reader = Self {
            file: BufReader::with_capacity(1 << 16, file),
            sum: digest::Context::new(&digest::SHA256),
            rows: 0,
            next: Vec::new(),
        };
        let header = reader.begin()?;
        Ok((reader, header))
    }

    fn begin(&mut self) -> Result<Header> {
        let not_one = || Error::invalid("", "the file is no backup of this server");
        self.file.rewind().map_err(unreadable)?;
        self.sum = digest::Context::new(&digest::SHA256);
        self.rows = 0;
        self.next = self.read()?;
        let line = self.take()?;
        let value = serde_json::from_slice::<Value>(&line);
        let value = value.map_err(|_| match line.starts_with(b"{\"chatelaine_backup\"") {
            true => damaged("its first line cannot be read"),
            false => not_one(),
        })?;
        match value.get("chatelaine_backup").and_then(Value::as_u64) {
            Some(form) if form == u64::from(FORM) => {}
            Some(form) => {
                let words = format!("the backup has form {form}, which this version does not know");
                return Err(Error::invalid("", words));
            }
            None => return Err(not_one()),
        }
        serde_json::from_value(value).map_err(|_| damaged("its first line cannot be read"))
    }

    fn read(&mut self) -> Result<Vec<u8>> {
        let mut line = Vec::new();
        let mut bounded = (&mut self.file).take(LINE);
        bounded.read_until(b'\n', &mut line).map_err(unreadable)?;
        Ok(line)
    }

    /// The next line but the last one, which is [`Reader::next`] then.
    fn take(&mut self) -> Result<Vec<u8>> {
        let next = self.read()?;
        let line = std::mem::replace(&mut self.next, next);
        if line.is_empty() || self.next.is_empty() {
            return Err(damaged("it ends too early"));
        }
        self.sum.update(&line);
        Ok(line)
    }

    /// The next line, until there is only the last one left.
    pub(super) fn line(&mut self) -> Result<Option<Line>> {
        if self.next.first() == Some(&b'{') && self.next.starts_with(b"{\"rows\"") {
            return Ok(None);
        }
        let line = self.take()?;
        if line.first() == Some(&b'[') {
            self.rows += 1;
            let row = serde_json::from_slice(&line);
            return Ok(Some(Line::Row(row.map_err(|_| damaged("a row cannot be read"))?)));
        }
        let section = serde_json::from_slice::<Section>(&line);
        let section = section.map_err(|_| damaged("a line cannot be read"))?;
        Ok(Some(Line::Table(section.table)))
    }

    /// Whether all that was read is what was written, when there is only the last line left.
    pub(super) fn is_whole(&mut self, vault: &Vault) -> Result<()> {
        let trailer = serde_json::from_slice::<Trailer>(&self.next);
        let trailer = trailer.map_err(|_| damaged("its last line cannot be read"))?;
        if !self.next.ends_with(b"\n") || !self.read()?.is_empty() {
            return Err(damaged("it does not end with its last line"));
        }
        let sum = self.sum.clone().finish();
        if trailer.sha256 != URL_SAFE_NO_PAD.encode(sum.as_ref()) || trailer.rows != self.rows {
            return Err(damaged("its digest is another one"));
        }
        let tag = URL_SAFE_NO_PAD.decode(&trailer.mac).unwrap_or_default();
        if hmac::verify(&vault.mac_key("backup"), sum.as_ref(), &tag).is_err() {
            return Err(Error::invalid(
                "",
                "the backup was altered, or written under another master key; nothing was restored",
            ));
        }
        Ok(())
    }

    /// Reads it all without doing anything, and begins anew. Damage comes before what it says of its key, because it may
    /// have damaged just that.
    pub(super) fn check(&mut self, header: &Header, vault: &Vault) -> Result<()> {
        while self.line()?.is_some() {}
        let whole = self.is_whole(vault);
        let says_other = header.key != vault.fingerprint();
        match whole {
            Err(Error::Invalid { detail, .. }) if says_other && !detail.contains("damaged") => {
                return Err(Error::invalid(
                    "/master_key",
                    format!(
                        "the backup was taken under the master key {}, and the one that is configured is {}: put back \
                         the key from then",
                        header.key,
                        vault.fingerprint()
                    ),
                ));
            }
            whole => whole?,
        }
        self.begin().map(drop)
    }
}
