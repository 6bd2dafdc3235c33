//! Who may use the admin API: people and programs with the right key, and no web page.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use http::header::{HOST, ORIGIN};
use http::uri::Authority;
use warmroute_openai::ApiError;

use super::Admin;
use crate::front::refusal::Refusal;

pub(super) async fn guard(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let admitted = no_browser(headers).and_then(|()| admin.gateway.keys.admit_admin(headers));
    match admitted {
        Ok(()) => next.run(request).await,
        Err(error) => Refusal::from(error).into_response(),
    }
}

/// A page sends `origin` with whatever changes something; one that has made its own name point here (DNS rebinding) sends that name.
fn no_browser(headers: &HeaderMap) -> Result<(), ApiError> {
    let refused = |why: &str| {
        let message =
            format!("{why}; hint: use curl or a program, with the address itself: http://127.0.0.1:PORT");
        Err(ApiError::new(403, "invalid_request_error", message).with_code("browser_refused"))
    };
    if headers.contains_key(ORIGIN) {
        return refused("web pages may not use the admin API");
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
    match host {
        Some(host) if !is_address(host.host()) => refused("the admin API is not known under this name"),
        _ => Ok(()),
    }
}

/// An address, or a name that a page from elsewhere cannot have: a single word, or one within a cluster.
fn is_address(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    address.is_ok() || !host.contains('.') || host.ends_with(".local") || host.ends_with(".internal")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn passes(name: http::HeaderName, value: &'static str) -> bool {
        no_browser(&HeaderMap::from_iter([(name, HeaderValue::from_static(value))])).is_ok()
    }

    #[test]
    fn programs_pass_and_pages_do_not() {
        for host in ["127.0.0.1:9000", "[::1]:9000", "localhost", "gateway:9000", "gw.llm.svc.cluster.local"]
        {
            assert!(passes(HOST, host), "{host}");
        }
        assert!(!passes(HOST, "rebound.example.com"));
        assert!(!passes(ORIGIN, "http://127.0.0.1:9000"));
    }
}
