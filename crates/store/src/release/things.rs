//! What resources say about people.

use super::{Personal, Release, Released, Shown, View};
use crate::webhook;
use crate::{Error, Result};
use wire::{
    Connection, ConnectionHealth, ConnectionLink, ConnectionWarningCode, EffectiveRole, Grant, GroupMember,
    Impact, Invitation, Member, Overview, PersonRef, PolicyTestResult, Trial, User, UserId,
    WebhookDeliveryDetail,
};

/// Stands for what a provider said when somebody could not sign in: it may name them.
const CONCEALED: &str = "the organisation's administrators see why";

impl Personal for User {
    fn people(&self) -> Vec<UserId> {
        Vec::new()
    }

    fn withhold(&mut self, view: &View<'_>) {
        view.of(&self.connection).apply(self);
    }
}

impl Personal for PersonRef {
    fn people(&self) -> Vec<UserId> {
        vec![self.id.clone()]
    }

    fn withhold(&mut self, view: &View<'_>) {
        let shown = view.of_user(&self.id);
        self.email.take_if(|_| !shown.email);
        self.name.take_if(|_| !shown.name);
    }
}

impl Personal for GroupMember {
    fn people(&self) -> Vec<UserId> {
        self.person.people()
    }

    fn withhold(&mut self, view: &View<'_>) {
        self.person.withhold(view);
    }
}

impl Personal for PolicyTestResult {
    fn people(&self) -> Vec<UserId> {
        let outcomes = self.people.iter().flat_map(|tested| &tested.outcomes);
        let people = outcomes.flat_map(|outcome| &outcome.people);
        people.map(|person| person.id.clone()).collect()
    }

    fn withhold(&mut self, view: &View<'_>) {
        let outcomes = self.people.iter_mut().flat_map(|tested| &mut tested.outcomes);
        for person in outcomes.flat_map(|outcome| &mut outcome.people) {
            person.withhold(view);
        }
    }
}

impl Personal for ConnectionLink {
    fn people(&self) -> Vec<UserId> {
        vec![self.from_user.id.clone(), self.to_user.id.clone()]
    }

    fn withhold(&mut self, view: &View<'_>) {
        self.from_user.withhold(view);
        self.to_user.withhold(view);
    }
}

impl Personal for Member {
    fn people(&self) -> Vec<UserId> {
        vec![self.user.clone()]
    }

    fn withhold(&mut self, view: &View<'_>) {
        let shown = view.at(self.account.as_ref(), Some(&self.user));
        self.email.take_if(|_| !shown.email);
        self.user_name.take_if(|_| !shown.name);
    }
}

impl Personal for Grant {
    fn people(&self) -> Vec<UserId> {
        vec![self.user.clone()]
    }

    fn withhold(&mut self, view: &View<'_>) {
        let shown = view.at(Some(&self.account), Some(&self.user));
        self.user_email.take_if(|_| !shown.email);
    }
}

impl Personal for Invitation {
    fn people(&self) -> Vec<UserId> {
        self.accepted_by.iter().cloned().collect()
    }

    /// Whoever entered the address knows it. Whether it is somebody's who is known here is not told by hiding it.
    fn withhold(&mut self, view: &View<'_>) {
        let own = self.created_by.is_some() && self.created_by.as_ref() == view.me;
        let account = self.account.as_ref();
        let shown = match &self.accepted_by {
            Some(user) => view.at(account, Some(user)).email,
            None => view.sees_addresses(account),
        };
        if !own && !shown {
            self.email.clear();
        }
    }
}

impl Personal for WebhookDeliveryDetail {
    fn people(&self) -> Vec<UserId> {
        let event = webhook::event_of(&self.request_body);
        event.map(|event| event.people()).unwrap_or_default()
    }

    /// What was sent may have been let out then and not now; the receiver may have repeated it.
    fn withhold(&mut self, view: &View<'_>) {
        let Some(event) = webhook::event_of(&self.request_body) else {
            self.request_body.clear();
            self.response_excerpt = None;
            return;
        };
        let mut released = event.clone();
        released.withhold(view);
        if released != event {
            self.request_body = webhook::body(&Released(released));
            self.response_excerpt = None;
        }
    }
}

impl Personal for Connection {
    fn people(&self) -> Vec<UserId> {
        Vec::new()
    }

    /// Of a connection that the account shares with others: who could not sign in may be one of theirs.
    fn withhold(&mut self, _: &View<'_>) {
        if self.account.is_some() {
            return;
        }
        if let Some(error) = &mut self.last_error {
            CONCEALED.clone_into(error);
        }
        for warning in &mut self.warnings {
            if warning.code == ConnectionWarningCode::LastSignInFailed {
                CONCEALED.clone_into(&mut warning.detail);
            }
        }
    }
}

impl Personal for Overview {
    fn people(&self) -> Vec<UserId> {
        Vec::new()
    }

    fn withhold(&mut self, view: &View<'_>) {
        for connection in &mut self.connections {
            connection.withhold(view);
        }
    }
}

impl Personal for Impact {
    fn people(&self) -> Vec<UserId> {
        let all = [&self.gain, &self.keep, &self.lose].into_iter();
        all.flat_map(|share| &share.names)
            .map(|name| name.user.clone())
            .collect()
    }

    /// What happens in other accounts is counted and not told; of people it says what their account lets out.
    fn withhold(&mut self, view: &View<'_>) {
        self.rows.retain(|row| !view.is_other(row.account.as_ref()));
        for share in [&mut self.gain, &mut self.keep, &mut self.lose] {
            share.names.retain(|name| !view.is_other(name.account.as_ref()));
            for name in &mut share.names {
                let shown = view.at(Some(&name.account), Some(&name.user));
                name.email.take_if(|_| !shown.email);
                name.name.take_if(|_| !shown.name);
            }
        }
    }
}

impl Release {
    /// Lets out how a connection does.
    #[must_use]
    pub fn health(
        &self,
        connection: &Connection,
        mut health: ConnectionHealth,
    ) -> Released<ConnectionHealth> {
        if !self.sees_all()
            && connection.account.is_none()
            && let Some(error) = &mut health.last_error
        {
            CONCEALED.clone_into(error);
        }
        Released(health)
    }

    /// Lets out a trial of a connection: of a shared one, how far it came and no more, because the claims that somebody
    /// was refused for are theirs.
    #[must_use]
    pub fn trial(&self, connection: &Connection, mut trial: Trial) -> Released<Trial> {
        if !self.sees_all() && connection.account.is_none() {
            trial.claims = None;
            trial.identity = None;
            for step in &mut trial.trace {
                step.expected = None;
                step.received = None;
                step.detail.clear();
            }
        }
        Released(trial)
    }

    /// Lets out the roles of a person: that one follows from a group tells that they are in it.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn roles(
        &mut self,
        user: &UserId,
        mut roles: Vec<EffectiveRole>,
    ) -> Result<Vec<Released<EffectiveRole>>> {
        if !self.sees_all() {
            self.look_up(std::iter::once(user.clone()).collect()).await?;
            let directory = self.store.directory();
            let view = self.view(&directory).ok_or_else(|| Error::internal("no view"))?;
            for role in &mut roles {
                let Shown { groups, .. } = view.at(role.account.as_ref(), Some(user));
                role.mapping.take_if(|_| !groups);
            }
        }
        Ok(roles.into_iter().map(Released).collect())
    }
}
