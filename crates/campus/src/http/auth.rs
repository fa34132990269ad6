//! Who is asking, and from where.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, StatusCode, header};

use super::error::Problem;
use super::extract::Conditions;
use crate::app::App;
use crate::config::Network;
use crate::learning::Operator;
use crate::model::Principal;
use crate::reads::Via;
use crate::token::{Access, Rejected};

/// Somebody signed in, or nobody. A token that is present must be valid.
#[derive(Clone, Copy)]
pub(super) struct Viewer(pub(super) Option<Principal>);

impl Viewer {
    /// `Cache-Control: no-cache` is for admins: from anybody else it would be a way to load the database.
    pub(super) fn via(self, conditions: &Conditions) -> Via {
        match self.0 {
            Some(principal) if conditions.no_cache && principal.is_admin() => Via::Database,
            _ => Via::Cache,
        }
    }
}

impl FromRequestParts<Arc<App>> for Viewer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let access = access(parts, app)?;
        Ok(Self(access.map(|access| access.principal)))
    }
}

fn bearer(parts: &Parts) -> Result<Option<&str>, Problem> {
    let Some(value) = parts.headers.get(header::AUTHORIZATION) else {
        return Ok(None);
    };
    match value.to_str().unwrap_or("").split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(token.trim())),
        _ => Err(unauthorized("Use Authorization: Bearer <token>")),
    }
}

/// What the request's token allows, if it has one.
fn access(parts: &Parts, app: &App) -> Result<Option<Access>, Problem> {
    let Some(token) = bearer(parts)? else {
        return Ok(None);
    };
    match app.learning.identify(token) {
        Ok(access) => Ok(Some(access)),
        Err(Rejected::Expired) => Err(unauthorized("The token has expired")),
        Err(Rejected::Invalid) => Err(unauthorized("The token is not valid")),
    }
}

/// Somebody signed in.
#[derive(Clone, Copy)]
pub(super) struct SignedIn(pub(super) Principal);

impl FromRequestParts<Arc<App>> for SignedIn {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let Viewer(principal) = Viewer::from_request_parts(parts, app).await?;
        principal.map(Self).ok_or_else(|| unauthorized("Sign in first"))
    }
}

/// The same for an answer that goes on: it must end with the token.
pub(super) struct SignedInUntil(pub(super) Access);

impl FromRequestParts<Arc<App>> for SignedInUntil {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        access(parts, app)?.map(Self).ok_or_else(|| unauthorized("Sign in first"))
    }
}

/// Who does something to the cache; that an admin still is one, the verb finds out.
#[derive(Clone, Copy)]
pub(super) struct OperatedBy(pub(super) Operator);

impl FromRequestParts<Arc<App>> for OperatedBy {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        if is_command_line(parts, app)? {
            return Ok(Self(Operator::CommandLine));
        }
        let SignedIn(principal) = SignedIn::from_request_parts(parts, app).await?;
        Ok(Self(Operator::Admin(principal)))
    }
}

/// Whether the token is the command line's, for exactly this request.
fn is_command_line(parts: &Parts, app: &App) -> Result<bool, Problem> {
    let path = parts.uri.path_and_query().map_or("", PathAndQuery::as_str);
    let request = format!("{} {path}", parts.method);
    Ok(bearer(parts)?.is_some_and(|token| app.learning.is_command_line(token, &request)))
}

/// An admin, as far as the token says, or the command line.
#[derive(Clone, Copy)]
pub(super) struct Admin;

impl FromRequestParts<Arc<App>> for Admin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        if is_command_line(parts, app)? {
            return Ok(Self);
        }
        let SignedIn(principal) = SignedIn::from_request_parts(parts, app).await?;
        if principal.is_admin() {
            Ok(Self)
        } else {
            Err(Problem::new(StatusCode::FORBIDDEN, "Only an admin may do this"))
        }
    }
}

pub(super) fn unauthorized(detail: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, detail)
}

/// The client's address: the peer's, or behind a trusted proxy the one it reports.
pub(super) struct ClientAddress(pub(super) IpAddr);

impl FromRequestParts<Arc<App>> for ClientAddress {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        app: &Arc<App>,
    ) -> Result<Self, Self::Rejection> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |info| info.0.ip());
        Ok(Self(client(peer, &parts.headers, &app.trusted_proxies)))
    }
}

/// Walks `X-Forwarded-For` from the right: the first address that is no trusted
/// proxy is the client's; what stands left of it is only the client's word. So is
/// what stands left of something that is no address.
fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    // A listener on [::] sees IPv4 peers as ::ffff:1.2.3.4.
    let mut nearest = peer.to_canonical();
    let forwarded = headers.get_all("x-forwarded-for").iter();
    let hops: Vec<&str> =
        forwarded.flat_map(|value| value.to_str().unwrap_or("").split(',')).collect();
    for hop in hops.into_iter().rev() {
        let (true, Some(address)) = (is_trusted(nearest), address(hop)) else {
            break;
        };
        nearest = address;
    }
    nearest
}

/// Reads a hop: an address, with a port behind some proxies.
fn address(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim();
    let bare = hop.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(hop);
    let with_port = || hop.parse().map(|hop: SocketAddr| hop.ip());
    let address: IpAddr = bare.parse().or_else(|_| with_port()).ok()?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue};

    use super::client;
    use crate::config::Network;

    /// The client behind the proxies of 10.0.0.0/8 and fd00::/8.
    fn client_of(peer: &str, forwarded: &[&'static str]) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", HeaderValue::from_static(value));
        }
        let trusted = ["10.0.0.0/8", "fd00::/8"].map(|net| Network::parse(net).unwrap());
        client(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn only_a_trusted_proxy_is_believed_about_the_client() {
        let forwarded = ["6.6.6.6, 1.2.3.4, 10.0.0.2"];
        assert_eq!(client_of("10.0.0.1", &forwarded), "1.2.3.4");
        assert_eq!(client_of("9.9.9.9", &forwarded), "9.9.9.9");
        assert_eq!(client_of("10.0.0.1", &["6.6.6.6", "1.2.3.4, 10.0.0.2"]), "1.2.3.4");
        assert_eq!(client_of("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn what_stands_left_of_no_address_is_not_believed() {
        assert_eq!(client_of("10.0.0.1", &["6.6.6.6, unknown, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(client_of("10.0.0.1", &["6.6.6.6, unknown"]), "10.0.0.1");
    }

    #[test]
    fn an_address_is_the_same_with_a_port_in_brackets_or_mapped_to_ipv6() {
        assert_eq!(client_of("::ffff:10.0.0.1", &["1.2.3.4"]), "1.2.3.4");
        assert_eq!(client_of("::ffff:9.9.9.9", &["1.2.3.4"]), "9.9.9.9");
        assert_eq!(client_of("10.0.0.1", &["1.2.3.4:5678, ::ffff:10.0.0.2"]), "1.2.3.4");
        assert_eq!(client_of("fd00::1", &["[2001:db8::7]:443"]), "2001:db8::7");
        assert_eq!(client_of("fd00::1", &["[2001:db8::7]"]), "2001:db8::7");
    }
}
