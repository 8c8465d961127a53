//! Which columns this version reads of each table, as SQL text: `users!()`, or `users!("u")` where the table has another
//! name in the statement. Rows are read by column name, and nothing says `*`: what a newer version adds to a table
//! is none of this one's business, and changes no answer that a connection has planned already.

/// Makes a macro that stands for the columns of a table.
macro_rules! table {
    ($dollar:tt $table:ident: $first:ident $($rest:ident)*) => {
        macro_rules! $table {
            () => {
                concat!(stringify!($first) $(, ", ", stringify!($rest))*)
            };
            ($dollar name:literal) => {
                concat!($dollar name, ".", stringify!($first) $(, ", ", $dollar name, ".", stringify!($rest))*)
            };
        }
    };
}

/// `select!(users, "WHERE id = $1")`: whole rows of one table.
macro_rules! select {
    ($table:ident) => {
        concat!("SELECT ", $table!(), " FROM ", stringify!($table))
    };
    ($table:ident, $rest:literal) => {
        concat!("SELECT ", $table!(), " FROM ", stringify!($table), " ", $rest)
    };
}

table!($ accounts: id org name enabled created_at version);
table!($ agent_attempts: id org account app state step reason received subject known ambiguous place network user_agent client_id client client_name asked user_id grant_id steps started_at last_at stops_at);
table!($ agent_steps: id attempt org account app at kind outcome reason expected received subject known request network ip user_agent client_id client client_name asked user_id grant_id count);
table!($ agent_documents: id org client_id decision document fetched_at created_at version);
table!($ api_tokens: id org owner account role name scopes allowed_ips prefix hash previous_hash previous_until created_by created_at expires_at last_used_at last_used_ip version);
table!($ apps: id org account name authority path spec created_at version host);
table!($ audit_events: org seq id time account action outcome user_id client grant_id app tool body hash target_user);
table!($ audit_heads: org seq hash answers answers_hash answers_after mac);
table!($ bindings: id org connection account mode state drain_until claims created_at version drain_maker);
table!($ clients: id org account app client_id name verified_host source tier state redirect_uris auth_method secret_hash registration_hash metadata first_user created_at last_used_at version approval);
table!($ codes: hash grant_id client redirect_uri challenge resource expires_at redeemed_at nonce);
table!($ connection_links: migration from_user to_user state manual);
table!($ connection_migrations: id org from_connection to_connection domains link_on_sign_in state undo created_at cut_over_at version);
table!($ connection_trials: id org connection token_hash state trace identity claims created_at expires_at finished_at);
table!($ connections: id org account name kind spec secret last_success_at last_error created_at version secret_expires_at);
table!($ fetched_documents: client_id document fetched_at tried_at used_at);
table!($ grants: id org account app user_id client scopes created_at expires_at last_used_at revoked_at revoked_reason authentication redirect_uri generation rotated_at);
table!($ hosts: id org name account created_at version);
table!($ invitations: id org email account role local hash created_by created_at sent_at expires_at accepted_at accepted_by revoked_at maker);
table!($ members: id org user_id account role created_at version);
table!($ organisations: id slug spec created_at version);
table!($ passwords: user_id phc changed_at failures locked_until);
table!($ policies: id org account name spec created_at version);
table!($ role_mappings: id org connection idp_group account role created_at version);
table!($ second_factors: id org user_id kind name secret credential counter created_at last_used_at);
table!($ service_tokens: id org account name enabled expires_at hash prefix rotated_at previous_hash previous_until last_used_at last_used_ip last_used_app created_at version);
table!($ sessions: id hash org user_id app parent data created_at expires_at ip user_agent authentication);
table!($ signing_keys: id org algorithm state public_jwk private_key created_at not_after);
table!($ upstream_tokens: user_id connection client token asked_at used_at);
table!($ user_groups: id org account name spec created_at version);
table!($ users: id org connection issuer subject email email_verified name claims idp_groups disabled created_at last_login_at version vouched_at has_second_factor);
table!($ webhook_deliveries: id webhook event action body state attempts next_at leased_until last_at status millis error response created_at);
table!($ webhooks: id org account name enabled spec secret previous_secret previous_until position disabled_reason failing_since last_success_at created_at version);
