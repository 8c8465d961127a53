//! Every list is read in pages that neither repeat nor leave out anything.

use crate::world::{app_spec, binding_spec, connection_spec, new_client, on_each, policy_spec};
use store::{Paging, api_token, app, binding, client, connection, grant, org, rule, session, user};
use wire::{Group, GroupSpec, NewApiToken, NewMember, Policy, Role};

/// Reads a list in pages of two and checks it against the list as a whole.
macro_rules! pages {
    ($what:literal, $count:literal, |$page:ident| $list:expr) => {{
        let everything = {
            let $page = &Paging::default();
            $list.await.unwrap()
        };
        assert_eq!(everything.len(), $count, $what);
        let (mut read, mut after) = (Vec::new(), None);
        loop {
            let $page = &Paging { limit: 2, after };
            let mut items = $list.await.unwrap();
            // One more than the page says that there is a next one.
            let more = items.len() > 2;
            items.truncate(2);
            after = items.last().map(|i| i.id.clone());
            read.extend(items);
            if !more {
                break;
            }
        }
        assert_eq!(read, everything, $what);
    }};
}

#[tokio::test]
async fn every_list_comes_in_pages() {
    on_each(async |w| {
        let (org, store, now) = (&w.org, &w.store, w.clock.now());
        for n in 0..4 {
            let account = w.account(&format!("Account {n}")).await;
            let agent = w.agent(new_client()).await;
            let person = w.person(&format!("person {n}")).await;
            w.used_grant(&person, &agent, &format!("code {n}")).await;
            w.session(&format!("cookie {n}"), w.record(&person)).await;
            let name = format!("{n}");
            let group = GroupSpec {
                name: name.clone(),
                members: vec![],
                include: vec![],
            };
            let member = NewMember {
                user: person.id.clone(),
                account: Some(account.id.clone()),
                role: Role::AccountAdmin,
            };
            let token = NewApiToken::of(&name, &[]);
            let url = format!("https://app{n}.example.com");
            w.write(async |tx| {
                let made = connection::create(tx, org, None, connection_spec(&name)).await?;
                binding::create(tx, org, (&made.id, &account.id), binding_spec()).await?;
                rule::create::<Policy>(tx, org, &account.id, policy_spec(&name)).await?;
                rule::create::<Group>(tx, org, &account.id, group).await?;
                org::add_member(tx, org, member).await?;
                api_token::create(tx, org, Some(&person.id), token, ("cht_", &name)).await?;
                app::create(tx, org, &account.id, app_spec(&name, &url)).await
            })
            .await
            .unwrap();
        }
        pages!("accounts", 5, |page| org::accounts(store, org, None, page));
        let everybody = org::MemberFilter::default();
        pages!("members", 4, |page| org::members(store, org, &everybody, page));
        pages!("connections", 5, |page| connection::list(store, org, None, page));
        pages!("connections of some", 5, |page| connection::list(
            store,
            org,
            Some(&[]),
            page
        ));
        pages!("bindings", 5, |page| binding::list(
            store,
            org,
            (None, None),
            None,
            page
        ));
        pages!("users", 5, |page| user::list(
            store,
            org,
            (Some("PERSON"), None),
            page
        ));
        pages!("policies", 4, |page| rule::list::<Policy>(store, org, None, page));
        pages!("groups", 4, |page| rule::list::<Group>(store, org, None, page));
        pages!("apps", 5, |page| app::list(store, org, None, page));
        pages!("clients", 5, |page| client::list(
            store,
            org,
            client::Filter::default(),
            now,
            page
        ));
        pages!("grants", 4, |page| grant::list(
            store,
            org,
            grant::Filter::default(),
            now,
            page
        ));
        pages!("sessions", 4, |page| session::list(store, org, None, now, page));
        let tokens = api_token::Filter::default();
        pages!("tokens", 4, |page| api_token::list(store, org, &tokens, page));
    })
    .await;
}
