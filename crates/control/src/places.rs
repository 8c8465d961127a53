//! Where things lie: public places are not ours to give away twice, and what the server sends does not come
//! back to it. What is asked here is asked again when a connection is made, because names move.

use crate::caller::Caller;
use crate::check;
use crate::fault::{Answer, Fault};
use ipnet::IpNet;
use store::split_public_url;
use url::Host;
use url::Url;
use wire::{AppSpec, Organisation};

/// Where an app is reached, and where it lies; what was there before is not asked about again.
pub(crate) async fn check(caller: &Caller, spec: &AppSpec, before: Option<&AppSpec>) -> Answer<()> {
    let public = check::http_url("/public_url", &spec.public_url)?;
    let (authority, _) = split_public_url(&spec.public_url)?;
    let moved = before.is_none_or(|b| b.public_url != spec.public_url);
    if moved {
        if public.host_str().is_some_and(|host| host.ends_with('.')) {
            return Err(Fault::invalid("/public_url", "no dot at the end of the host"));
        }
        let unreachable = match public.host() {
            Some(Host::Domain(name)) => name.split('.').any(str::is_empty),
            Some(Host::Ipv4(ip)) => ip.is_unspecified(),
            Some(Host::Ipv6(ip)) => ip.to_canonical().is_unspecified(),
            None => true,
        };
        if unreachable {
            return Err(Fault::invalid("/public_url", "nobody can come to this host"));
        }
        if public.host_str().is_some_and(|host| host.contains('*')) {
            return Err(Fault::invalid("/public_url", "one host, without *"));
        }
        if store::host::of_authority(&authority) == control_host(caller)? {
            let detail = "the control plane lies at this host";
            return Err(Fault::invalid("/public_url", detail).noted("foreign_host"));
        }
    }
    let origin = check::origin("/origin_url", &spec.origin_url)?;
    if !moved && before.is_some_and(|b| b.origin_url == spec.origin_url) {
        return Ok(());
    }
    if check::authority(&origin) == authority {
        return Err(
            Fault::invalid("/origin_url", "the gateway would forward to itself").noted("loop_detected"),
        );
    }
    let org = store::org::get(caller.store(), &caller.org).await?;
    let opened: Vec<IpNet> = org
        .spec
        .allowed_origin_ranges
        .iter()
        .filter_map(|net| net.parse().ok())
        .collect();
    check_target(caller, ("/origin_url", &origin), &opened).await
}

/// The host of the control plane.
pub(crate) fn control_host(caller: &Caller) -> Answer<String> {
    let control = Url::parse(caller.control.control_url()).map_err(store::Error::internal)?;
    Ok(store::host::of_authority(&check::authority(&control)))
}

/// Refuses what leads to this server (its control plane, a place where it publishes an app, its listeners), and
/// addresses at which clouds hand out credentials and their like; see [`outbound::is_special`].
pub(crate) async fn check_target(
    caller: &Caller,
    (pointer, url): (&str, &Url),
    opened: &[IpNet],
) -> Answer<()> {
    let control = Url::parse(caller.control.control_url()).map_err(store::Error::internal)?;
    let authority = without_dot(&check::authority(url));
    let published = !caller.store().directory().at_authority(&authority).is_empty();
    let itself = || Fault::invalid(pointer, "this leads to this server itself").noted("loop_detected");
    if published || authority == check::authority(&control) {
        return Err(itself());
    }
    let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
        return Ok(());
    };
    let outbound = caller.control.outbound();
    for address in outbound.addresses(host, port).await {
        if outbound.listeners().has(address) {
            return Err(itself());
        }
        let ip = address.ip();
        if outbound::is_special(ip, opened) {
            let detail = format!(
                "{ip} is a link-local address, one where clouds hand out credentials, or none of a single host; an \
                 administrator opens such networks to origins with `allowed_origin_ranges` of the organisation"
            );
            return Err(Fault::invalid(pointer, detail).noted("special_address"));
        }
    }
    Ok(())
}

/// The same authority without the dot that may end a name.
fn without_dot(authority: &str) -> String {
    match authority.rsplit_once(':') {
        Some((name, port)) if !name.ends_with(']') => format!("{}:{port}", name.trim_end_matches('.')),
        _ => authority.trim_end_matches('.').to_owned(),
    }
}

/// The networks that an organisation opens to origins.
pub(crate) fn check_ranges(before: &Organisation, ranges: &[String]) -> Answer<()> {
    if *ranges == before.spec.allowed_origin_ranges {
        return Ok(());
    }
    check::at_most("/allowed_origin_ranges", ranges, 20)?;
    for (i, text) in ranges.iter().enumerate() {
        let bad = |detail: String| Err(Fault::invalid(format!("/allowed_origin_ranges/{i}"), detail));
        let Ok(net) = text.parse::<IpNet>() else {
            return bad("a network such as 169.254.10.0/24".to_owned());
        };
        if net.trunc().to_string() != *text {
            return bad(format!("write it as {}", net.trunc()));
        }
        if !outbound::can_be_opened(&net) {
            return bad(
                "not within the networks that are closed to origins; others need no entry".to_owned(),
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::without_dot;

    #[test]
    fn the_dot_at_the_end_of_a_name_says_nothing() {
        for (written, read) in [
            ("wiki.example", "wiki.example"),
            ("wiki.example.", "wiki.example"),
            ("wiki.example.:8080", "wiki.example:8080"),
            ("[::1]:8080", "[::1]:8080"),
            ("[::1]", "[::1]"),
        ] {
            assert_eq!(without_dot(written), read);
        }
    }
}
