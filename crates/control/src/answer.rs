//! What an answer is made of. A thing that says something about people goes into one only as [`Released`], made by
//! the caller's [`Release`]; that it says nothing about anybody is written down here, thing by thing. A handler that
//! answers with anything else does not compile.

use crate::caller::{Caller, Permission};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use store::{Release, Released, Viewer};
use wire::{
    Account, AgentAttempt, AgentAttemptDetail, AgentDocument, AgentRemedy, ApiToken, App, Binding,
    BrowserSession, ClaimsPreview, Client, ConnectionMigration, CreatedApiToken, CreatedClient, Discovery,
    Factor, Group, Host, KnownAgent, Organisation, Page, Policy, PresetInfo, RoleMapping, RuleWarning,
    ServiceToken, ServiceTokenWithSecret, Session, SigningKey, Webhook, WebhookDelivery, WebhookWithSecret,
};

/// What may stand in an answer.
pub(crate) trait Open: Serialize {}

impl<T: Serialize> Open for Released<T> {}
impl<T: Open> Open for Page<T> {}

// Things, and the identifiers of people who have to do with them.
impl Open for Account {}
impl Open for AgentAttempt {}
impl Open for AgentAttemptDetail {}
impl Open for AgentRemedy {}
impl Open for AgentDocument {}
impl Open for ApiToken {}
impl Open for App {}
impl Open for Binding {}
impl Open for BrowserSession {}
impl Open for Client {}
impl Open for ConnectionMigration {}
impl Open for CreatedApiToken {}
impl Open for CreatedClient {}
impl Open for Discovery {}
impl Open for Factor {}
impl Open for Group {}
impl Open for Host {}
impl Open for KnownAgent {}
impl Open for Organisation {}
impl Open for Policy {}
impl Open for PresetInfo {}
impl Open for RoleMapping {}
impl Open for RuleWarning {}
impl Open for ServiceToken {}
impl Open for ServiceTokenWithSecret {}
impl Open for SigningKey {}
impl Open for Webhook {}
impl Open for WebhookDelivery {}
impl Open for WebhookWithSecret {}

/// The caller, about themselves.
impl Open for Session {}
/// Only for whoever administers the connection, and with it decides what of its people is released.
impl Open for ClaimsPreview {}

/// A JSON answer.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: Open> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

impl Caller {
    /// Lets out what the caller gets to see.
    pub(crate) fn release(&self) -> Release {
        let viewer = match self.accounts(Permission::Read) {
            None => Viewer::Organisation,
            Some(mine) => Viewer::Accounts(mine, self.user().cloned()),
        };
        Release::new(self.store(), &self.org, viewer)
    }
}
