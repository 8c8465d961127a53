//! The first steps of a deployment: master key, organisation, owner.

use crate::config::{Config, write_secret};
use crate::say::say;
use anyhow::Context as _;
use serde_json::{Map, json};
use store::user::{Identity, Person};
use store::{Clock, MasterKey, Paging, Store, Upgrade};
use tokens::Keyring;
use wire::{
    ActorKind, AuditActor, Callback, Connection, ConnectionKind, ConnectionSpec, NewMember, OrgId,
    Organisation, OrganisationSpec, Role,
};

/// Options of `chatelaine setup`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The organisation's name, as people see it.
    #[arg(long)]
    organisation: String,
    /// Its short name in URLs: lower-case letters, digits and hyphens.
    #[arg(long)]
    slug: String,
    /// E-mail address of the owner who signs in with a local password.
    #[arg(long)]
    owner: String,
    /// Read the owner's password from standard input instead of making one.
    #[arg(long)]
    password_stdin: bool,
    /// Make it beside the organisations that there are already.
    #[arg(long)]
    another: bool,
}

/// Opens the store of a configuration, whose schema stays as it is.
pub(crate) async fn open(config: &Config, key: &MasterKey) -> anyhow::Result<Store> {
    open_with(config, key, (Clock::system(), Upgrade::Never)).await
}

/// Opens the store of a configuration with a clock and, perhaps, a new schema.
pub(crate) async fn open_with(
    config: &Config,
    key: &MasterKey,
    (clock, schema): (Clock, Upgrade),
) -> anyhow::Result<Store> {
    let options = store::Options {
        database_url: &config.database_url,
        master_key: key,
        clock,
        control_url: &config.public_url,
        pools: config.database_connections.into(),
    };
    let next = config.next_master_key()?;
    let opening = store::Opening {
        next_key: next.as_ref(),
        schema,
        ..store::Opening::default()
    };
    Store::open_with(options, opening).await.map_err(in_words)
}

fn in_words(error: store::Error) -> anyhow::Error {
    match error {
        store::Error::Invalid { detail, .. } => anyhow::anyhow!("{detail}"),
        other => anyhow::Error::new(other).context("the database cannot be used"),
    }
}

/// Brings the schema up to date, and says from where to where.
pub(crate) async fn migrate(config: &Config) -> anyhow::Result<()> {
    config.needs_database()?;
    let done = store::upgrade(&config.database_url).await.map_err(in_words)?;
    match done.from {
        Some(from) if from == done.to && done.to > done.newest => {
            say!("schema        {from}, of a newer version, which this one can use as well: nothing to do")
        }
        Some(from) if from == done.to => say!("schema        {from}, up to date: nothing to do"),
        Some(from) => say!("schema        {} (it was {from})", done.to),
        None => say!(
            "schema        {} (there was none): `chatelaine setup` makes an organisation",
            done.to
        ),
    }
    Ok(())
}

/// The configured master key; when there is none, a new one, and whether it still has to be written down.
pub(crate) fn key_or_new(config: &Config) -> anyhow::Result<(MasterKey, bool)> {
    if config.master_key.is_some() || config.master_key_file.exists() {
        return Ok((config.master_key()?, false));
    }
    Ok((MasterKey::generate()?, true))
}

pub(crate) async fn run(config: &Config, args: Args) -> anyhow::Result<()> {
    // What is wrong is said before anything is written.
    judge(&args.slug, &args.owner)?;
    let (password, is_made) = password(args.password_stdin)?;
    broker::judge_password(&password).context("the password is not acceptable")?;
    let (key, is_new) = key_or_new(config)?;
    let store = open_with(config, &key, (Clock::system(), Upgrade::IfEmpty)).await?;
    if is_new {
        // Only now: had the database existed under another key, it would have refused this one.
        write_secret(&config.master_key_file, &key.to_text())?;
        say!("master key    {}", config.master_key_file.display());
    }
    if let Some(there) = store::org::all(&store).await?.first()
        && !args.another
    {
        anyhow::bail!(
            "there is an organisation already: {} ({}). An owner who lost their password gets a new one by `chatelaine \
             owner reset`; to make another organisation beside it, say --another",
            there.spec.name,
            there.slug
        );
    }
    let keyring = Keyring::load(&store).await?;
    let made = organisation(
        &store,
        &keyring,
        (&args.organisation, &args.slug),
        (&args.owner, &password),
    )
    .await?;
    say!(
        "organisation  {} ({})",
        made.organisation.spec.name,
        made.organisation.id
    );
    say!("owner         {}", args.owner);
    if is_made {
        say!("password      {password}   (shown once)");
    }
    say!("dashboard     {}", config.public_url);
    Ok(())
}

/// The password to set, and whether it was made here.
fn password(from_stdin: bool) -> anyhow::Result<(String, bool)> {
    if !from_stdin {
        return Ok((store::random_secret("")?, true));
    }
    let given = std::io::read_to_string(std::io::stdin())?;
    Ok((given.trim_end_matches(['\r', '\n']).to_owned(), false))
}

/// Options of `chatelaine owner reset`.
#[derive(clap::Args)]
pub(crate) struct ResetArgs {
    /// The owner's e-mail address.
    #[arg(long)]
    email: String,
    /// The organisation's short name; needed only where there are several.
    #[arg(long)]
    organisation: Option<String>,
    /// Read the new password from standard input instead of making one.
    #[arg(long)]
    password_stdin: bool,
}

/// The last resort of an owner who lost password or second factor: whoever may run this on the server may do
/// everything anyway.
pub(crate) async fn reset_owner(config: &Config, args: ResetArgs) -> anyhow::Result<()> {
    let store = open(config, &config.master_key()?).await?;
    let mut found = store::org::all(&store).await?;
    if let Some(slug) = &args.organisation {
        found.retain(|org| org.slug == *slug);
    }
    let org = match found.as_slice() {
        [only] => only,
        [] => anyhow::bail!("there is no such organisation"),
        _ => anyhow::bail!("there are several organisations: name one with --organisation"),
    };
    let known = store::user::password_by_email(&store, &org.id, args.email.trim()).await?;
    let known = known.context("nobody with this address signs in with a local password")?;
    let roles = store::org::roles_of(&store, &known.user).await?;
    let is_owner = roles.iter().any(|role| role.role == Role::OrgOwner);
    anyhow::ensure!(
        is_owner,
        "they are no owner: an owner can help them in the dashboard"
    );
    let (password, is_made) = password(args.password_stdin)?;
    let phc = broker::hash_password(&password)
        .await
        .context("the password is not acceptable")?;
    let mut tx = store.begin().await?;
    store::user::set_password(&mut tx, &known.user, &phc).await?;
    let page = store::Paging::default();
    let factors = store::factor::list(&mut tx, &known.user, &page).await?;
    store::factor::remove_all(&mut tx, &known.user).await?;
    store::session::end_all_of(&mut tx, &known.user, "user_reset").await?;
    let event = |action: &str, target| {
        let mut event = store::audit::event(&org.id, "cli", action, AuditActor::of(ActorKind::System));
        event.target = Some(target);
        event
    };
    let about = store::audit::target("user", &known.user, Some(&args.email));
    let removed = factors.iter().map(|factor| {
        let about = store::audit::target("factor", &factor.id, Some(&factor.name));
        event("factor.remove", about)
    });
    let events = std::iter::once(event("user.reset", about))
        .chain(removed)
        .collect();
    tx.commit_all(events).await?;
    say!("owner           {}", args.email);
    say!("second factors  {} taken away", factors.len());
    if is_made {
        say!("password        {password}   (shown once)");
    }
    say!(
        "sign in at      {}/login",
        config.public_url.trim_end_matches('/')
    );
    Ok(())
}

/// A new organisation with what it needs to be administered.
pub(crate) struct Made {
    pub(crate) organisation: Organisation,
    pub(crate) owner: Person,
}

/// Whether an organisation can have this short name, and an owner this address.
fn judge(slug: &str, email: &str) -> anyhow::Result<()> {
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    anyhow::ensure!(
        !slug.is_empty() && slug.bytes().all(is_plain),
        "--slug {slug:?}: the short name takes lower-case letters, digits and hyphens only"
    );
    wire::Address::parse(email).with_context(|| format!("--owner {email:?} is not an e-mail address"))?;
    Ok(())
}

/// Makes an organisation, its connection for local owners, and the first of them.
pub(crate) async fn organisation(
    store: &Store,
    keyring: &Keyring,
    (name, slug): (&str, &str),
    (email, password): (&str, &str),
) -> anyhow::Result<Made> {
    judge(slug, email)?;
    let phc = broker::hash_password(password)
        .await
        .context("the password is not acceptable")?;
    let mut tx = store.begin().await?;
    let spec = OrganisationSpec {
        name: name.to_owned(),
        primary_connection: None,
        floor: Vec::new(),
        ..OrganisationSpec::default()
    };
    let organisation = store::org::create(&mut tx, slug, spec)
        .await
        .with_context(|| format!("the organisation {slug} cannot be made"))?;
    let org = &organisation.id;
    let local: Connection = store::connection::create(&mut tx, org, None, local_connection()?).await?;
    let identity = Identity {
        connection: local.id,
        issuer: "local".into(),
        subject: email.to_ascii_lowercase(),
        email: Some(email.to_owned()),
        email_verified: false,
        name: None,
        groups: Vec::new(),
        claims: Map::new(),
    };
    let owner = store::user::provision(&mut tx, org, identity).await?;
    store::user::set_password(&mut tx, &owner.user.id, &phc).await?;
    let role = NewMember {
        user: owner.user.id.clone(),
        account: None,
        role: Role::OrgOwner,
    };
    store::org::add_member(&mut tx, org, role).await?;
    let event = |action: &str, target| {
        let mut event = store::audit::event(org, "system", action, AuditActor::of(ActorKind::System));
        event.target = Some(target);
        event
    };
    let made = event(
        "organisation.create",
        store::audit::target("organisation", org, Some(name)),
    );
    let owned = event(
        "member.create",
        store::audit::target("user", &owner.user.id, Some(email)),
    );
    tx.commit_all(vec![made, owned]).await?;
    keyring.ensure(&organisation.id).await?;
    Ok(Made { organisation, owner })
}

fn local_connection() -> anyhow::Result<ConnectionSpec> {
    Ok(serde_json::from_value(
        json!({ "name": "Local owners", "kind": ConnectionKind::Password }),
    )?)
}

/// Connections without a redirect URI of their own, each with its organisation's slug.
pub(crate) async fn sharing_callback(store: &Store) -> anyhow::Result<Vec<(String, Connection)>> {
    let mut found = Vec::new();
    for org in store::org::all(store).await? {
        let sharing = connections(store, &org.id).await?.into_iter();
        let sharing = sharing.filter(|c| c.spec.callback == Callback::Shared && c.spec.enabled);
        found.extend(sharing.map(|connection| (org.slug.clone(), connection)));
    }
    Ok(found)
}

/// All connections of an organisation.
pub(crate) async fn connections(store: &Store, org: &OrgId) -> anyhow::Result<Vec<Connection>> {
    let mut all: Vec<Connection> = Vec::new();
    loop {
        let paging = Paging {
            after: all.last().map(|connection| connection.id.clone()),
            ..Paging::default()
        };
        let more = store::connection::list(store, org, None, &paging).await?;
        if more.is_empty() {
            return Ok(all);
        }
        all.extend(more);
    }
}
