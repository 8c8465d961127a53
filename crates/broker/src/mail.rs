//! Outgoing mail. The operator chooses the transport; without one, whatever needs mail says so.

use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart, SinglePart};
use lettre::transport::smtp::extension::ClientId;
use lettre::{Address, AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use store::Clock;
use tokio::io::AsyncWriteExt as _;
use tokio_util::task::TaskTracker;

/// How long the mail server may take for one command.
const PATIENCE: Duration = Duration::from_secs(15);

/// How mail leaves the server.
#[derive(Clone, PartialEq, Eq)]
pub enum Transport {
    /// Not at all.
    None,
    /// Into the log, body and all: for development.
    Log,
    /// Into a folder, one `.eml` file each: for development and tests.
    File(PathBuf),
    /// To a mail server: `smtps://user:password@host`, `smtp+starttls://user:password@host`, or, for a relay
    /// on this machine or in its network, `smtp://host`.
    Smtp(String),
}

/// One mail.
#[derive(Debug, Clone, Default)]
pub struct Mail {
    /// To whom: a bare address.
    pub to: String,
    /// What it is about.
    pub subject: String,
    /// What it says.
    pub text: String,
    /// The same with markup, if at all.
    pub html: Option<String>,
}

/// Why a mail was not sent, or no mailer could be made.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// The operator has chosen no transport.
    #[error("no mail transport is configured: set `transport` under [mail]")]
    NotConfigured,
    /// The settings make no sense.
    #[error("{0}")]
    Settings(String),
    /// The mail cannot be written: mostly an address that is none.
    #[error("the mail cannot be written: {0}")]
    Malformed(String),
    /// The mail server, or the folder, did not take it.
    #[error("the mail could not be sent: {0}")]
    Failed(String),
}

/// Sends mail. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Mailer(Option<Arc<Inner>>);

struct Inner {
    from: Mailbox,
    out: Out,
    clock: Clock,
    under_way: TaskTracker,
}

enum Out {
    Log,
    File(PathBuf),
    Smtp(AsyncSmtpTransport<Tokio1Executor>),
}

impl Mailer {
    /// A mailer that sends nothing and says so.
    #[must_use]
    pub const fn none() -> Self {
        Self(None)
    }

    /// A mailer whose mail comes from `from`: an address, or a name and `<an address>`.
    ///
    /// # Errors
    /// When the sender or the mail server's URL cannot be used.
    pub fn new(transport: &Transport, from: &str, clock: Clock) -> Result<Self, MailError> {
        if *transport == Transport::None {
            return Ok(Self::none());
        }
        let from: Mailbox = from
            .parse()
            .map_err(|e| MailError::Settings(format!("`from` under [mail] is not an address: {e}")))?;
        let out = match transport {
            Transport::None | Transport::Log => Out::Log,
            Transport::File(folder) if folder.as_os_str().is_empty() => {
                return Err(MailError::Settings(
                    "`directory` under [mail] is missing".to_owned(),
                ));
            }
            Transport::File(folder) => Out::File(folder.clone()),
            Transport::Smtp(url) => Out::Smtp(smtp(url, &from)?),
        };
        Ok(Self(Some(Arc::new(Inner {
            from,
            out,
            clock,
            under_way: TaskTracker::new(),
        }))))
    }

    /// Whether mail can be sent at all.
    #[must_use]
    pub const fn is_configured(&self) -> bool {
        self.0.is_some()
    }

    /// Sends a mail in the background; `failed` learns why it was not taken over.
    pub fn post<F>(&self, mail: Mail, failed: impl FnOnce(MailError) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send,
    {
        let mailer = self.clone();
        let task = async move {
            if let Err(error) = mailer.send(mail).await {
                failed(error).await;
            }
        };
        match &self.0 {
            Some(inner) => drop(inner.under_way.spawn(task)),
            None => drop(tokio::spawn(task)),
        }
    }

    /// Waits until everything that was posted has left or failed: when the server stops, and in tests.
    pub async fn settled(&self) {
        if let Some(inner) = &self.0 {
            inner.under_way.close();
            inner.under_way.wait().await;
            inner.under_way.reopen();
        }
    }

    /// Sends a mail; returns when the mail server has taken it over.
    ///
    /// # Errors
    /// When it was not taken over.
    pub async fn send(&self, mail: Mail) -> Result<(), MailError> {
        let inner = self.0.as_ref().ok_or(MailError::NotConfigured)?;
        let sent = inner.send(mail).await;
        let outcome = if sent.is_ok() { "sent" } else { "failed" };
        metrics::counter!("chatelaine_mails_total", "outcome" => outcome).increment(1);
        sent
    }
}

impl Inner {
    async fn send(&self, mail: Mail) -> Result<(), MailError> {
        let message = self.message(&mail)?;
        match &self.out {
            Out::Log => {
                tracing::info!(to = mail.to, subject = mail.subject, "mail\n{}", mail.text);
                Ok(())
            }
            Out::File(folder) => {
                let name = format!("{}-{}.eml", self.clock.now().0, random()?);
                let written = write(folder, &name, &message.formatted()).await;
                written.map_err(|e| MailError::Failed(format!("{}: {e}", folder.display())))
            }
            Out::Smtp(server) => {
                let taken = server.send(message).await;
                taken.map(drop).map_err(|e| MailError::Failed(e.to_string()))
            }
        }
    }

    fn message(&self, mail: &Mail) -> Result<Message, MailError> {
        let malformed = |e: &dyn std::fmt::Display| MailError::Malformed(e.to_string());
        // A bare address: a name beside it could only be a stranger's.
        let to: Address = mail.to.parse().map_err(|e| malformed(&e))?;
        let id = format!("<{}@{}>", random()?, self.from.email.domain());
        let now = u64::try_from(self.clock.now().0).unwrap_or_default();
        let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
        let builder = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(mail.subject.as_str())
            .date(SystemTime::UNIX_EPOCH + Duration::from_micros(now))
            .message_id(Some(id))
            // RFC 3834: out-of-office answers and the like are not wanted.
            .raw_header(HeaderValue::new(automatic, "auto-generated".to_owned()));
        let built = match &mail.html {
            Some(html) => {
                builder.multipart(MultiPart::alternative_plain_html(mail.text.clone(), html.clone()))
            }
            None => builder.singlepart(
                SinglePart::builder()
                    .header(ContentType::TEXT_PLAIN)
                    .body(mail.text.clone()),
            ),
        };
        built.map_err(|e| malformed(&e))
    }
}

fn smtp(url: &str, from: &Mailbox) -> Result<AsyncSmtpTransport<Tokio1Executor>, MailError> {
    // Neither text nor source of the library's error: they may repeat the URL, which holds a password.
    let wrong = |what: &str| MailError::Settings(format!("`url` under [mail] {what}"));
    let parsed = url::Url::parse(url).map_err(|_| wrong("is not a URL"))?;
    let has_password = parsed.password().is_some() || !parsed.username().is_empty();
    let url = match parsed.scheme() {
        "smtps" => url.to_owned(),
        "smtp+starttls" => {
            let rest = url.split_once("://").map_or("", |(_, rest)| rest);
            let base = format!("smtp://{rest}");
            let mut parsed = url::Url::parse(&base).map_err(|_| wrong("is not a URL"))?;
            parsed.set_query(Some("tls=required"));
            parsed.into()
        }
        "smtp" if has_password => return Err(wrong("would send its password in clear")),
        "smtp" => url.to_owned(),
        _ => {
            return Err(wrong(
                "begins with neither smtps://, smtp+starttls:// nor smtp://",
            ));
        }
    };
    let builder = AsyncSmtpTransport::<Tokio1Executor>::from_url(&url)
        .map_err(|_| wrong("does not name a mail server"))?;
    let hello = ClientId::Domain(from.email.domain().to_owned());
    Ok(builder.hello_name(hello).timeout(Some(PATIENCE)).build())
}

/// Enough randomness for a name that nobody else has.
fn random() -> Result<String, MailError> {
    let random = store::random_secret("").map_err(|e| MailError::Failed(e.to_string()))?;
    Ok(random
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(20)
        .collect())
}

/// Writes a file that only its owner can read; who watches the folder sees it whole or not at all.
async fn write(folder: &Path, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    tokio::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .await?;
    let unfinished = folder.join(format!(".{name}"));
    let mut options = tokio::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished)
        .await?;
    file.write_all(bytes).await?;
    file.sync_all().await?;
    tokio::fs::rename(&unfinished, folder.join(name)).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncBufReadExt as _, BufReader};

    fn mail(to: &str) -> Mail {
        Mail {
            to: to.to_owned(),
            subject: "Grüße\r\nBcc: everyone@example.com".to_owned(),
            text: "The code is 123456.\n".to_owned(),
            html: None,
        }
    }

    fn clock() -> Clock {
        Clock::manual(wire::Timestamp::from_seconds(1_800_000_000))
    }

    #[tokio::test]
    async fn without_a_transport_it_says_so() {
        let mailer = Mailer::new(&Transport::None, "", clock()).unwrap();
        assert!(!mailer.is_configured());
        let sent = mailer.send(mail("a@example.com")).await;
        assert!(matches!(sent, Err(MailError::NotConfigured)));
    }

    #[tokio::test]
    async fn a_file_holds_one_mail_whose_headers_strangers_cannot_write() {
        let folder = std::env::temp_dir().join(format!("mail-{}", random().unwrap()));
        let transport = Transport::File(folder.clone());
        let mailer = Mailer::new(&transport, "Chatelaine <id@example.com>", clock()).unwrap();
        assert!(mailer.is_configured());
        mailer.send(mail("alice@example.com")).await.unwrap();
        for bad in [
            "alice@example.com\r\nBcc: b@example.com",
            "a@b, c@d",
            "Alice <a@example.com>",
            "",
        ] {
            let sent = mailer.send(mail(bad)).await;
            assert!(matches!(sent, Err(MailError::Malformed(_))), "{bad:?}");
        }
        let files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(Result::unwrap).collect();
        let [file] = files.as_slice() else {
            panic!("{files:?}");
        };
        assert_eq!(file.path().extension().unwrap(), "eml");
        let text = std::fs::read_to_string(file.path()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("To: alice@example.com"), "{head}");
        assert!(head.contains("From: Chatelaine <id@example.com>"), "{head}");
        assert!(head.contains("Date: Fri, 15 Jan 2027 08:00:00 +0000"), "{head}");
        assert!(head.contains("Auto-Submitted: auto-generated"), "{head}");
        assert!(!head.lines().any(|line| line.starts_with("Bcc")), "{head}");
        assert!(body.contains("123456"));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_mail_servers_url_says_how_to_reach_it_and_keeps_passwords_off_plain_connections() {
        let with = |url: &str| Mailer::new(&Transport::Smtp(url.to_owned()), "id@example.com", clock());
        for good in [
            "smtps://user:p%40ss@mail.example.com",
            "smtp+starttls://user:pass@mail.example.com:587",
            "smtp://127.0.0.1:25",
        ] {
            assert!(with(good).is_ok(), "{good}");
        }
        for bad in [
            "smtp://user:hunter2@mail.example.com",
            "http://hunter2@x",
            "hunter2",
            "",
        ] {
            let error = with(bad).err().unwrap().to_string();
            assert!(
                error.contains("`url` under [mail]") && !error.contains("hunter2"),
                "{error}"
            );
        }
        assert!(Mailer::new(&Transport::Log, "nobody", clock()).is_err());
    }

    #[tokio::test]
    async fn a_mail_server_gets_sender_recipient_and_text() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("smtp://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let (socket, _) = listener.accept().await.unwrap();
            let (read, mut write) = socket.into_split();
            write.write_all(b"220 mail.example.com ESMTP\r\n").await.unwrap();
            let mut lines = BufReader::new(read).lines();
            let (mut heard, mut in_data) = (Vec::new(), false);
            while let Some(line) = lines.next_line().await.unwrap() {
                let answer: &[u8] = match line.as_str() {
                    "." => b"250 taken\r\n",
                    _ if in_data => b"",
                    "DATA" => b"354 go on\r\n",
                    "QUIT" => b"221 bye\r\n",
                    _ => b"250 mail.example.com\r\n",
                };
                in_data = (in_data || line == "DATA") && line != ".";
                write.write_all(answer).await.unwrap();
                let taken = line == ".";
                heard.push(line);
                if taken {
                    break;
                }
            }
            heard
        });
        let mailer = Mailer::new(&Transport::Smtp(url), "id@example.com", clock()).unwrap();
        mailer.send(mail("alice@example.com")).await.unwrap();
        let heard = server.await.unwrap().join("\n");
        for line in [
            "EHLO example.com",
            "MAIL FROM:<id@example.com>",
            "RCPT TO:<alice@example.com>",
            "The code is 123456.",
        ] {
            assert!(heard.contains(line), "{line} not in {heard}");
        }
    }
}
